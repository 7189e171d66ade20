// The promise, in a few minutes: a handful of faults under load, always the same ones, and nothing
// is lost, nobody acknowledges after the next leader, and the cluster is whole again by itself.
// `npm run chaos` is the long run.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { formatRound, runRound } from '../chaos/round.ts'
import { openStage } from '../chaos/stage.ts'
import type { TestCluster } from '../harness/cluster.ts'
import { findFault } from '../harness/faults.ts'
import type { Stage } from '../harness/faults-stage.ts'

const SEED = 20_261_120
const HOLD_MS = [4000, 6000] as const
const FAULTS: Record<Stage['kind'], string[]> = {
  namespaces: ['postmaster-kill', 'leader-power-off', 'leader-cut'],
  loopback: ['postmaster-kill', 'leader-host-kill', 'dcs-member-kill'],
}

let stage: Stage
let said = ''
let cluster: TestCluster

before(async () => {
  stage = await openStage(undefined, (line) => {
    said = line
  })
  cluster = await stage.platform.createCluster('chaos', { instances: 3, durability: 'sync' })
})

after(async () => {
  await stage?.[Symbol.asyncDispose]()
})

test('faults under load: nothing lost, no overlap, whole again', async (t) => {
  t.diagnostic(said)
  for (const [index, name] of FAULTS[stage.kind].entries()) {
    const number = index + 1
    const fault = findFault(name)
    const seed = SEED + number
    const report = await runRound({ stage, cluster, fault, number, seed, holdMs: HOLD_MS })
    t.diagnostic(formatRound(report))
    assert.deepEqual(report.problems, [], formatRound(report))
    assert.equal(report.lost, 0)
    assert.equal(report.overlapMs, 0)
  }
})
