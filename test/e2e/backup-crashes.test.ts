// A control plane that is killed in the middle of an operation on backups goes on where it was:
// nothing is done twice that may not be, nothing is left behind. A few points of each operation,
// those between which most can go wrong; `npm run backup-crashes` takes all of them.
import { after, before, test } from 'node:test'
import {
  CRASH_TRIALS,
  type CrashPlan,
  type CrashStage,
  makeCrashStage,
} from '../harness/backup-crashes.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'

let platform: TestPlatform
let stage: CrashStage

before(async () => {
  platform = await startPlatform({ subnet: '127.103.0' })
  stage = await makeCrashStage(platform)
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

/** In this order: an undo needs a restore before it. */
const PLANS: [kind: string, says: string, plan: CrashPlan][] = [
  ['create-backup', 'one backup is made, not two', { moment: 'after', steps: ['back-up'] }],
  ['restore-drill', 'a drill leaves no copy', { moment: 'after', steps: ['fetch', 'replay'] }],
  [
    'fork-cluster',
    'a fork is whole',
    { moment: 'after', steps: ['place', 'replay', 'start-leader'] },
  ],
  [
    'restore-cluster',
    'a restore in place takes everything back',
    { moment: 'after', steps: ['set-aside', 'fetch', 'clear-dcs'] },
  ],
  ['undo-restore', 'an undo brings all of it back', { moment: 'after', steps: ['put-back'] }],
  ['delete-backup', 'one backup is removed, and no other', { moment: 'after' }],
]

for (const [kind, says, plan] of PLANS) {
  test(`${says}, wherever the control plane dies`, () => CRASH_TRIALS[kind]?.(stage, plan))
}
