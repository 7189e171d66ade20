// Owns `howdah status`: what of the platform runs, in one table; exit code 1 when something does
// not.
import type { Command } from 'commander'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatTable, type Paint, stateCell } from '../output.ts'
import { readPlatformConfig } from '../platform/config.ts'
import { openHome } from '../platform/open-home.ts'
import { type PlatformStatus, readPlatformStatus } from '../platform/platform-status.ts'

export function register(program: Command, context: Context): void {
  program
    .command('status')
    .helpGroup(HELP_GROUPS.platform)
    .description('show what of the platform runs; exit code 1 unless all is well')
    .action(() => status(context))
}

async function status(context: Context): Promise<void> {
  const { layout } = await openHome(context.home(), readPlatformConfig())
  const read = await readPlatformStatus(layout, `howdah-cli/${context.version}`)
  const output = context.output()
  await output.print(read, () => formatStatus(read, output.paint))
  if (!read.healthy) process.exitCode = 1
}

function formatStatus(read: PlatformStatus, paint: Paint): string[] {
  if (!read.running) {
    if (read.left > 0) {
      const said = `${read.left} processes of an earlier start are left at ${read.home}.`
      return [said, 'Start it again: howdah up --detach, or end them: howdah down']
    }
    return [`The platform at ${read.home} does not run.`, 'Start it: howdah up --detach']
  }
  const rows = read.parts.map((part) => [part.part, stateCell(part.state), part.detail])
  const verdict = read.healthy ? paint('green', 'All is well.') : paint('red', 'Not all is well.')
  return [...formatTable(paint, ['PART', 'STATE', 'DETAIL'], rows), '', verdict]
}
