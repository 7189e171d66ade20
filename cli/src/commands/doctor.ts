// Owns `howdah doctor`: every check of the machine and, while the platform runs, of its parts, each
// with what to do about it.
import type { Command } from 'commander'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatTable, type Style } from '../output.ts'
import { type CheckResult, fail, ok } from '../platform/check.ts'
import { readPlatformConfig } from '../platform/config.ts'
import { openHome } from '../platform/open-home.ts'
import { type PlatformStatus, readPlatformStatus } from '../platform/platform-status.ts'
import { runPreflight } from '../platform/preflight.ts'

const STYLES: Record<CheckResult['state'], Style> = { ok: 'green', warn: 'yellow', fail: 'red' }

export function register(program: Command, context: Context): void {
  program
    .command('doctor')
    .helpGroup(HELP_GROUPS.platform)
    .description('check this machine and the platform; exit code 1 when something fails')
    .action(() => doctor(context))
}

async function doctor(context: Context): Promise<void> {
  const { layout } = await openHome(context.home(), readPlatformConfig())
  const status = await readPlatformStatus(layout, `howdah-cli/${context.version}`)
  const machine = await runPreflight(layout, { isRunning: status.running })
  const results = [...machine, ...checkParts(status)]
  const output = context.output()
  await output.print({ home: layout.home, checks: results }, () => {
    const rows = results.map((result) => [
      { text: result.state, style: STYLES[result.state] },
      result.name,
      result.fix === '' ? result.found : `${result.found} (fix: ${result.fix})`,
    ])
    return formatTable(output.paint, ['', 'CHECK', 'FOUND'], rows)
  })
  if (results.some((result) => result.state === 'fail')) process.exitCode = 1
}

function checkParts(status: PlatformStatus): CheckResult[] {
  // Not running is no illness: the machine's checks say whether it could.
  if (!status.running) return [ok('platform', 'not running; start it with howdah up')]
  return status.parts.map((part) => {
    const found = `${part.state}, ${part.detail}`
    return part.healthy ? ok(part.part, found) : fail(part.part, found, fixOf(part.part))
  })
}

function fixOf(part: string): string {
  if (part.startsWith('cluster ')) return `howdah cluster show ${part.slice('cluster '.length)}`
  if (part.startsWith('host-')) return 'howdah host list shows its services; howdah up repairs'
  return 'howdah up repairs what can be repaired'
}
