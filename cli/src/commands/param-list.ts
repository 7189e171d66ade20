// howdah param list: the PostgreSQL parameters that a cluster may set, and what each accepts.
import type { ParameterEntry } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { type Cell, formatTable, type Paint } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'param')
    .command('list')
    .description('list parameters, and what each accepts')
    .action(() => listParameters(context))
}

async function listParameters(context: Context): Promise<void> {
  const parameters = await context.client().list<ParameterEntry>('/v1/parameters')
  const output = context.output()
  await output.print(parameters, () => formatEntries(output.paint, parameters))
}

function formatEntries(paint: Paint, parameters: ParameterEntry[]): string[] {
  const rows = parameters.map((parameter): Cell[] => [
    parameter.name,
    parameter.type,
    formatAccepted(parameter),
    parameter.requires_restart ? { text: 'restart', style: 'yellow' } : '',
  ])
  return formatTable(paint, ['PARAMETER', 'TYPE', 'ACCEPTS', 'NEEDS'], rows)
}

function formatAccepted(parameter: ParameterEntry): string {
  if (parameter.values !== undefined) return parameter.values.join(', ')
  const { minimum, maximum, unit } = parameter
  if (minimum === undefined && maximum === undefined) return unit ?? ''
  return `${minimum ?? ''} to ${maximum ?? ''} ${unit ?? ''}`.trim()
}
