// Proves whom a game day may touch, and how its report is summed up, without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GameDayRound } from './contract/drills.ts'
import { findProblems, type GameDayFault, summarizeGameDay, touchedClusters } from './game-day.ts'

const part = (cluster_id: string, host_id: string) => ({ cluster_id, host_id })

/** `beside` has an instance, `routed` a gateway on a host of `scratch`; `far` has nothing there. */
const PRESENT = {
  clusterIds: ['beside', 'far', 'routed', 'scratch'],
  instances: [
    part('scratch', 'host-1'),
    part('scratch', 'host-2'),
    part('beside', 'host-2'),
    part('far', 'host-3'),
    part('routed', 'host-3'),
  ],
  gateways: [part('routed', 'host-1'), part('scratch', 'host-3'), part('far', 'host-4')],
  dcsHostIds: ['host-3'],
}

const touched = (faults: GameDayFault[], dcsHostIds = PRESENT.dcsHostIds) =>
  touchedClusters('scratch', faults, { ...PRESENT, dcsHostIds })

test('a host that is taken away is taken from every cluster with a part on it', () => {
  for (const fault of ['leader-host', 'leader-host-silent', 'network-cut', 'agent'] as const) {
    assert.deepEqual(touched([fault]), ['beside', 'routed', 'scratch'], fault)
  }
})

test('the dcs is of all clusters, also where it goes with a host', () => {
  assert.deepEqual(touched(['dcs-member']), PRESENT.clusterIds)
  assert.deepEqual(touched(['leader-host'], ['host-2']), PRESENT.clusterIds)
  assert.deepEqual(touched(['agent'], ['host-2']), ['beside', 'routed', 'scratch'])
})

test('a fault in services of the cluster touches no other', () => {
  const faults = ['leader-process', 'leader-frozen', 'patroni', 'haproxy', 'pgbouncer'] as const
  assert.deepEqual(touched([...faults], ['host-1']), ['scratch'])
})

const ROUND: GameDayRound = {
  fault: 'leader-host',
  target: 'host-1',
  acknowledged: 100,
  failed: 2,
  lost: 0,
  longest_gap_ms: 1000,
  gaps_ms: 3000,
  leaders_at_once_max: 1,
  healed_ms: 500,
  watched_ms: 10_000,
}

test('a report counts all rounds, and all of their gaps', () => {
  const { gaps_ms: _, ...before } = ROUND
  const rounds = [ROUND, { ...before, lost: 3, leaders_at_once_max: 2 }]
  assert.deepEqual(summarizeGameDay(rounds), {
    rounds,
    acknowledged: 200,
    failed: 4,
    lost: 3,
    leaders_at_once_max: 2,
    // The second is of an agent that only told its longest gap.
    availability: 0.8,
  })
})

test('nothing was watched yet: nothing was away', () => {
  assert.equal(summarizeGameDay([]).availability, 1)
})

test('what was lost, a second leader and a cluster that stays broken are problems', () => {
  const problems = (...changes: Partial<GameDayRound>[]) =>
    findProblems(summarizeGameDay(changes.map((change) => ({ ...ROUND, ...change }))))
  assert.deepEqual(problems({ failed: 1000 }), [])
  assert.deepEqual(
    problems({ lost: 1 }, { lost: 2, fault: 'patroni' }, { leaders_at_once_max: 2 }, ROUND, {
      healed_ms: null,
    }),
    [
      '3 acknowledged writes were lost (leader-host, patroni)',
      'several instances accepted writes at one moment (leader-host)',
      'the cluster was not whole again in time (leader-host)',
    ],
  )
})
