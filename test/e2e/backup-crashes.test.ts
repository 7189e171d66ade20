// A control plane that is killed in the middle of an operation on backups goes on where it was:
// nothing is done twice that may not be, nothing is left behind. The two with the most to lose;
// `npm run backup-crashes` takes every operation on backups, at each moment of each step.
import { after, before, test } from 'node:test'
import {
  CRASH_TRIALS,
  type CrashPlan,
  type CrashStage,
  makeCrashStage,
} from '../harness/backup-crashes.ts'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'

let platform: TestPlatform
let stage: CrashStage

before(async () => {
  if ('skip' in LONG) return
  platform = await startPlatform({ subnet: '127.103.0' })
  stage = await makeCrashStage(platform)
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

const PLANS: [kind: string, says: string, plan: CrashPlan][] = [
  ['create-backup', 'one backup is made, not two', { moment: 'after', steps: ['back-up'] }],
  [
    'restore-cluster',
    'a restore in place takes everything back',
    { moment: 'after', steps: ['set-aside', 'fetch', 'clear-dcs'] },
  ],
]

for (const [kind, says, plan] of PLANS) {
  const promise = `${says}, wherever the control plane dies`
  test(promise, LONG, () => CRASH_TRIALS[kind]?.(stage, plan))
}
