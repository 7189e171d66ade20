// howdah op list.
import type { Operation } from '@howdah/core/contract/operations.ts'
import { type Command, Option } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import {
  type Cell,
  formatAge,
  formatDuration,
  formatTable,
  type Paint,
  stateCell,
} from '../output.ts'

interface ListFlags {
  cluster?: string
  state?: string
}

/** All that the API has: a type, because its list would load the whole contract. */
const STATES: Record<Operation['state'], true> = {
  scheduled: true,
  pending: true,
  running: true,
  succeeded: true,
  failed: true,
  cancelled: true,
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'op')
    .command('list')
    .description('list operations')
    .option('--cluster <cluster>', 'only of this cluster')
    .addOption(new Option('--state <state>', 'only in this state').choices(Object.keys(STATES)))
    .action((flags: ListFlags) => listOperations(context, flags))
}

async function listOperations(context: Context, flags: ListFlags): Promise<void> {
  const query = { cluster: flags.cluster, state: flags.state }
  const operations = await context.client().list<Operation>('/v1/operations', query)
  const output = context.output()
  await output.print(operations, () => formatOperations(output.paint, operations))
}

function formatOperations(paint: Paint, operations: Operation[]): string[] {
  if (operations.length === 0) return ['no operations']
  const rows = operations.map((operation): Cell[] => [
    operation.id,
    operation.title,
    stateCell(operation.state),
    countSteps(operation),
    formatTaken(operation),
    formatAge(operation.created_at),
    operation.created_by,
    operation.error === null ? '' : operation.error.detail,
  ])
  return formatTable(paint, ['ID', 'WHAT', 'STATE', 'STEPS', 'TOOK', 'CREATED', 'BY', ''], rows)
}

function countSteps({ steps }: Operation): string {
  const done = steps.filter((step) => step.state === 'succeeded' || step.state === 'skipped')
  return `${done.length}/${steps.length}`
}

function formatTaken(operation: Operation): string {
  if (operation.started_at === null) return '—'
  const endMs = operation.ended_at === null ? Date.now() : Date.parse(operation.ended_at)
  return formatDuration(endMs - Date.parse(operation.started_at))
}
