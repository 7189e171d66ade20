// howdah op logs: everything that an operation said, with times.
import type { Event } from '@howdah/core/contract/operations.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { listEvents } from '../event-list.ts'
import { formatTable, type Paint } from '../output.ts'

const EVENT_COUNT_MAX = 10_000

export function register(program: Command, context: Context): void {
  commandGroup(program, 'op')
    .command('logs')
    .description('show all events of an operation')
    .argument('<id>', 'op_…')
    .action((id: string) => showLogs(context, id))
}

async function showLogs(context: Context, id: string): Promise<void> {
  // Otherwise an id that does not exist would look like an operation that said nothing.
  await context.client().get(apiPath`/v1/operations/${id}`)
  const events = await listEvents(context.client(), { operation: id }, EVENT_COUNT_MAX)
  const output = context.output()
  await output.print(events, () => formatLogs(output.paint, events))
}

function formatLogs(paint: Paint, events: Event[]): string[] {
  if (events.length === 0) return ['no events']
  const rows = events.map((event) => [event.at, event.kind, event.message])
  return formatTable(paint, ['AT', 'EVENT', ''], rows)
}
