// Proves each verdict on a cluster, and the sentence that people read.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  clusterHealth,
  isFollowing,
  type ObservedGateway,
  type ObservedInstance,
} from './cluster-health.ts'
import type { PatroniStatus } from './protocol.ts'

function instance(name: string, patroni: Partial<PatroniStatus> | undefined): ObservedInstance {
  if (patroni === undefined) return { name, patroni }
  const quiet: PatroniStatus = {
    role: 'replica',
    state: 'running',
    streaming: false,
    timeline: 1,
    walPosition: '1',
    pendingRestart: false,
    serverVersion: 150000,
    replicas: [],
  }
  return { name, patroni: { ...quiet, ...patroni } }
}

const LEADER = instance('a-1', { role: 'leader' })
const REPLICA = instance('a-2', { streaming: true, state: 'streaming' })
const SYNC = instance('a-3', { role: 'sync-replica', streaming: true })
const READY = { name: 'gw-1', ready: true }
const AWAY = { name: 'gw-2', ready: false }
const MUTE = { name: 'gw-3', ready: true, canary: { silentMs: 31_000, error: 'refused' } }

const cases: [string, ObservedInstance[], ObservedGateway[], string, string][] = [
  ['alone', [LEADER], [READY], 'available', 'a-1 leads'],
  ['whole', [LEADER, REPLICA, SYNC], [READY], 'available', 'a-1 leads, 2 streaming'],
  ['no instance', [], [READY], 'failed', 'no instance leads'],
  ['no leader', [REPLICA, SYNC], [READY], 'failed', 'no instance leads'],
  [
    'a leader that only starts',
    [instance('a-1', { role: 'leader', state: 'starting' }), REPLICA],
    [READY],
    'failed',
    'no instance leads',
  ],
  ['no gateway', [LEADER, REPLICA], [AWAY], 'failed', 'no gateway is ready'],
  ['a gateway away', [LEADER], [READY, AWAY], 'degraded', 'gw-2 is not ready'],
  [
    'a gateway that carries no writes',
    [LEADER],
    [READY, MUTE],
    'degraded',
    'gw-3 has not carried a write for 31 s: refused',
  ],
  [
    'a gateway that is not ready, and so carries none',
    [LEADER],
    [READY, { ...MUTE, ready: false }],
    'degraded',
    'gw-3 is not ready',
  ],
  [
    'a replica that does not stream',
    [LEADER, instance('a-2', {})],
    [READY],
    'degraded',
    'a-2 running',
  ],
  [
    'a replica that is copied and one not heard of',
    [LEADER, instance('a-2', { state: 'creating replica' }), instance('a-3', undefined)],
    [READY, AWAY],
    'degraded',
    'a-2 creating replica; a-3 is not heard of; gw-2 is not ready',
  ],
  [
    'a second leader that does not know yet',
    [LEADER, instance('a-2', { role: 'leader', streaming: true })],
    [READY],
    'degraded',
    'a-2 running',
  ],
]

for (const [name, instances, gateways, state, message] of cases) {
  test(`${name}: ${state}`, () => {
    assert.deepEqual(clusterHealth(instances, gateways), { state, message })
  })
}

test('following is streaming as a replica; silence is not', () => {
  assert.equal(isFollowing(REPLICA), true)
  assert.equal(isFollowing(SYNC), true)
  assert.equal(isFollowing(LEADER), false)
  assert.equal(isFollowing(instance('a-2', undefined)), false)
})
