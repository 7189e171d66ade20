// The promise, in a few minutes: a handful of faults under load, always the same ones, and nothing
// is lost, nobody acknowledges after the next leader, and the cluster is whole again by itself.
// `npm run chaos` is the long run.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Drill, GameDayReport } from '@howdah/core/contract/drills.ts'
import { formatRound, runRound } from '../chaos/round.ts'
import { openStage } from '../chaos/stage.ts'
import type { TestCluster } from '../harness/cluster.ts'
import { findFault } from '../harness/faults.ts'
import type { Stage } from '../harness/faults-stage.ts'
import { LONG } from '../harness/long.ts'

const SEED = 20_261_120
const HOLD_MS = [4000, 6000] as const
const GAME_DAY_TIMEOUT_MS = 150_000
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

test('a game day cuts the host of the leader off, and loses nothing', LONG, async (t) => {
  if (stage.kind === 'loopback') return t.skip('hosts of one machine have one network')
  const { platform } = stage
  const body = { faults: ['network-cut'], confirm: 'chaos', accept_outage: true }
  const path = '/v1/clusters/chaos'
  const started = await platform.api<OperationAccepted>('POST', `${path}/game-days`, body)
  assert.equal(started.status, 202, JSON.stringify(started.body))
  const operation = await platform.waitOperation(started.body.operation.id, GAME_DAY_TIMEOUT_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  const drills = await platform.api<{ data: Drill[] }>('GET', `${path}/drills`)
  const report = drills.body.data[0]?.report as GameDayReport
  const [round] = report.rounds
  t.diagnostic(JSON.stringify(round))
  assert.equal(round?.lost, 0)
  assert.equal(round?.leaders_at_once_max, 1)
  assert.notEqual(round?.healed_ms, null)
  // A host that is cut off is noticed after some seconds: a gap of less would be no cut.
  assert.ok((round?.longest_gap_ms ?? 0) > 1000, JSON.stringify(round))
})
