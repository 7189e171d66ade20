// Proves each reason that speaks against a failover, and that nothing else does.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObservedInstance } from './cluster-health.ts'
import type { PatroniStatus } from './protocol.ts'
import { judgeReadiness, type ReadinessInput } from './readiness.ts'

function instance(name: string, patroni: Partial<PatroniStatus>): ObservedInstance {
  const quiet: PatroniStatus = {
    role: 'replica',
    state: 'running',
    streaming: true,
    timeline: 1,
    walPosition: '1000',
    pendingRestart: false,
    paused: false,
    serverVersion: 150000,
    replicas: [],
  }
  return { name, patroni: { ...quiet, ...patroni } }
}

const LEADER = instance('a-1', { role: 'leader', streaming: false })
const SYNC = instance('a-2', { role: 'sync-replica' })
const REPLICA = instance('a-3', {})

/** Whether each of the dcs members on the leader's host, and two others, is healthy. */
function members(withLeader: boolean, second: boolean, third: boolean) {
  return [
    { name: 'etcd-1', ready: withLeader, withLeader: true },
    { name: 'etcd-2', ready: second, withLeader: false },
    { name: 'etcd-3', ready: third, withLeader: false },
  ]
}

const WELL: ReadinessInput = {
  durability: 'sync',
  instances: [LEADER, SYNC, REPLICA],
  gateways: [{ name: 'gw-1', ready: true, withLeader: false }],
  outlivesHost: true,
  dcsMembers: members(true, true, true),
  silentHosts: [],
  deaf: [],
  lowDisks: [],
  maintenance: false,
  lagBytesMax: 100,
}

const failing: [string, Partial<ReadinessInput>, string, RegExp][] = [
  ['nobody leads', { instances: [SYNC, REPLICA] }, 'leader', /^no instance leads$/],
  [
    'the leader has stopped',
    { instances: [instance('a-1', { role: 'leader', state: 'stopped' }), SYNC] },
    'leader',
    /^no instance leads$/,
  ],
  ['no sync replica', { instances: [LEADER, REPLICA] }, 'candidate', /^no synchronous replica/],
  ['alone', { durability: 'async', instances: [LEADER] }, 'candidate', /^no replica streams$/],
  [
    'a late candidate',
    { instances: [LEADER, instance('a-2', { role: 'sync-replica', walPosition: '899' })] },
    'lag',
    /^a-2 lag$/,
  ],
  [
    'a majority of the dcs only with the member on the host of the leader',
    { dcsMembers: members(true, true, false) },
    'dcs',
    /^2 of 3 .* healthy; etcd-3 not; only 1 outside the leader's host, 2 needed$/,
  ],
  [
    'a dcs of one member, on the host of the leader',
    { dcsMembers: members(true, true, true).slice(0, 1) },
    'dcs',
    /^1 of 1 .* healthy; only 0 outside the leader's host, 1 needed$/,
  ],
  ['a disk that fills', { lowDisks: [{ name: 'h-1', said: '4 %' }] }, 'disks', /^h-1: 4 %$/],
  [
    'no gateway',
    { gateways: [{ name: 'gw-1', ready: false, withLeader: false }] },
    'gateways',
    /^gw-1 not ready$/,
  ],
  [
    'the only gateway on the host of the leader',
    { gateways: [{ name: 'gw-1', ready: true, withLeader: true }] },
    'gateways',
    /^every gateway is ready; only gw-1, on the leader's host: its loss leaves no way in$/,
  ],
  [
    'the gateway on another host away',
    {
      gateways: [
        { name: 'gw-1', ready: true, withLeader: true },
        { name: 'gw-2', ready: false, withLeader: false },
      ],
    },
    'gateways',
    /^gw-2 not ready; only gw-1, on the leader's host/,
  ],
  [
    'a gateway that carries no writes, though its services are ready',
    {
      gateways: [
        { name: 'gw-1', ready: true, withLeader: false, canary: { silentMs: 0, error: '' } },
        {
          name: 'gw-2',
          ready: true,
          withLeader: false,
          canary: { silentMs: 12_000, error: 'timeout expired' },
        },
      ],
    },
    'writes',
    /^gw-2 has not carried a write for 12 s: timeout expired$/,
  ],
  ['an agent away', { silentHosts: ['host-2'] }, 'agents', /^host-2 silent$/],
  [
    'a host that is deaf for another',
    { deaf: [{ name: 'host-1', to: 'host-2' }] },
    'heartbeats',
    /^host-1 does not hear host-2$/,
  ],
  ['a pause', { maintenance: true }, 'maintenance', /^the cluster is paused/],
  [
    'a pause that the dcs has not ended',
    { instances: [LEADER, SYNC, instance('a-3', { paused: true })] },
    'maintenance',
    /^a-3 still paused/,
  ],
]

for (const [name, change, expected, message] of failing) {
  test(`not ready: ${name}`, () => {
    const { ready, checks } = judgeReadiness({ ...WELL, ...change })
    assert.equal(ready, false)
    const found = checks.filter(({ ok }) => !ok)
    assert.deepEqual(
      found.map((check) => check.name),
      [expected],
    )
    assert.match(found[0]?.message ?? '', message)
    assert.notEqual(found[0]?.fix, '')
  })
}

const passing: [string, Partial<ReadinessInput>][] = [
  [
    'one of two gateways on the host of the leader',
    {
      gateways: [
        { name: 'gw-1', ready: true, withLeader: true },
        { name: 'gw-2', ready: true, withLeader: false },
      ],
    },
  ],
  [
    'all on one host, of which nothing would be left anyway',
    { gateways: [{ name: 'gw-1', ready: true, withLeader: true }], outlivesHost: false },
  ],
  ['everything is well', {}],
  ['in async any replica will do', { durability: 'async', instances: [LEADER, REPLICA] }],
  [
    'a canary that is late once',
    {
      gateways: [
        { name: 'gw-1', ready: true, withLeader: false, canary: { silentMs: 8000, error: 'x' } },
      ],
    },
  ],
  ['a dcs member on the host of the leader is away', { dcsMembers: members(false, true, true) }],
  [
    'an agent of an older version says nothing of a pause',
    { instances: [LEADER, SYNC, { name: 'a-3', patroni: withoutPause(REPLICA) }] },
  ],
]

function withoutPause({ patroni }: ObservedInstance): PatroniStatus | undefined {
  if (patroni === undefined) return undefined
  const { paused: _, ...rest } = patroni
  return rest
}

for (const [name, change] of passing) {
  test(`ready: ${name}`, () => {
    const { ready, checks } = judgeReadiness({ ...WELL, ...change })
    assert.equal(ready, true, JSON.stringify(checks))
    assert.deepEqual(
      checks.filter(({ fix }) => fix !== ''),
      [],
    )
  })
}
