// Owns `howdah down`: the orderly end of everything that the home runs.
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { readPlatformConfig } from '../platform/config.ts'
import { makeElapsedLog } from '../platform/elapsed-log.ts'
import { acquireHomeLock } from '../platform/home-lock.ts'
import { findHomeProcesses } from '../platform/home-processes.ts'
import { openHome } from '../platform/open-home.ts'
import { stopPlatform } from '../platform/stop-platform.ts'
import { describeStop } from '../platform/stop-report.ts'

export function register(program: Command, context: Context): void {
  program
    .command('down')
    .helpGroup(HELP_GROUPS.platform)
    .description('stop the platform on this machine; its data stay')
    .action(() => down(context))
}

async function down(context: Context): Promise<void> {
  const say = makeElapsedLog(context.output())
  const { layout } = await openHome(context.home(), readPlatformConfig())
  if (findHomeProcesses(layout.home).length === 0) {
    say(`nothing runs at ${layout.home}`)
    return
  }
  await using _lock = await acquireHomeLock(layout.lockFile)
  const report = await stopPlatform(layout, { say: (what) => say(`stopping ${what}`) })
  for (const line of describeStop(report)) say(line)
  if (report.left.length > 0) {
    const said = report.left.map((process) => `${process.program} (pid ${process.pid})`).join(', ')
    throw new HowdahError('wrong-state', `still running: ${said}`, {
      extra: { hint: 'run howdah down again, as root if another user started them' },
    })
  }
}
