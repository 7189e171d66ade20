// Owns `npm run backup-crashes`: the control plane dies at each step of each operation on backups,
// before it, after it, and once it is recorded. Ends with exit code 1 when one does not converge,
// or leaves something behind.
import { parseArgs } from 'node:util'
import {
  CRASH_MOMENTS,
  CRASH_TRIALS,
  type CrashMoment,
  makeCrashStage,
} from '../harness/backup-crashes.ts'
import { endOnSignal } from '../harness/end-on-signal.ts'
import { startPlatform } from '../harness/platform.ts'

const USAGE = 'npm run backup-crashes -- [--only KIND,KIND] [--moments A,B] [--subnet A.B.C]\n'

const say = (line: string) => process.stdout.write(`${line}\n`)

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      moments: { type: 'string', default: CRASH_MOMENTS.join() },
      subnet: { type: 'string', default: '127.104.0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void say(USAGE)
  const only = values.only?.split(',')
  const moments = values.moments.split(',') as CrashMoment[]
  await using platform = await startPlatform({ subnet: values.subnet })
  endOnSignal(platform)
  const stage = await makeCrashStage(platform)
  let wrong = 0
  for (const moment of moments) {
    for (const [kind, trial] of Object.entries(CRASH_TRIALS)) {
      if (only !== undefined && !only.includes(kind)) continue
      const startedMs = performance.now()
      const error = await trial(stage, { moment }).then(
        () => '',
        (failed: Error) => failed.message,
      )
      if (error !== '') wrong += 1
      const took = ((performance.now() - startedMs) / 1000).toFixed(1)
      say(`${error === '' ? 'whole' : 'WRONG'}  ${kind} ${moment}  ${took} s  ${error}`)
    }
  }
  say(wrong === 0 ? 'all converged' : `${wrong} did not`)
  if (wrong > 0) process.exitCode = 1
}

await main()
