// Goal: an agent sees at once what Patroni writes, and takes a leader key away only as it saw it.
// Method: a real etcd with TLS and users, written to as Patroni does; what is parsed, by example.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { startTestEtcd, type TestEtcd } from '../testing/test-etcd.ts'
import { until } from '../testing/until.ts'
import { type ClusterWatch, parseView, spreadEndpoints, watchCluster } from './cluster-watch.ts'
import { connectEtcd, type EtcdClient, toBase64 } from './etcd-client.ts'
import { enableAuth, ensureUser } from './etcd-users.ts'

const ADDRESS = '127.61.2.2'
const PREFIX = '/howdah/clu_w/'
const PASSWORD = 'word'

let authority: TestAuthority
let etcd: TestEtcd
let root: EtcdClient
let watch: ClusterWatch
const stop = new AbortController()
const said: string[] = []

function rootAccess() {
  return { endpoints: [etcd.url], caPem: authority.caPem, user: 'root', password: 'root' }
}

function watched(endpoints: readonly string[]): WatchedCluster {
  return {
    id: 'clu_w',
    durability: 'sync',
    sensitivity: 'balanced',
    dcs: {
      endpoints: [...endpoints],
      caPem: authority?.caPem ?? '',
      user: 'clu_w',
      password: PASSWORD,
      prefix: PREFIX,
    },
    caPem: '',
    probe: { user: 'probe', password: '' },
    gatewayAdmin: { user: 'gateway', password: '' },
    heartbeatKey: '',
    peers: ['a', 'b', 'c', 'd'].map((hostId) => ({ hostId, address: '127.0.0.1' })),
    instances: [],
    localGateways: [],
    localInstances: [],
  }
}

before(async () => {
  authority = await makeTestAuthority()
  etcd = await startTestEtcd(ADDRESS, authority)
  await enableAuth({ endpoints: [etcd.url], caPem: authority.caPem }, 'root', stop.signal)
  root = connectEtcd(rootAccess(), stop.signal)
  await root.call('auth/user/add', { name: 'clu_w', password: PASSWORD })
  const log = pino({ level: 'debug' }, { write: (line: string) => void said.push(line) })
  watch = watchCluster(watched([etcd.url]), log, stop.signal)
})

after(async () => {
  stop.abort()
  await watch.done
  root.close()
  await etcd.close()
})

async function put(name: string, value: string): Promise<void> {
  await root.call('kv/put', { key: toBase64(PREFIX + name), value: toBase64(value) })
}

test('a watch that etcd cancels is opened again', async () => {
  // The user may not read yet. etcd says so in a stream that it leaves open.
  await until(
    'a watch that was cancelled',
    () => said,
    (lines) => lines.some((line) => line.includes('etcd cancelled the watch')),
  )
  await ensureUser(rootAccess(), { user: 'clu_w', password: PASSWORD, prefix: PREFIX }, stop.signal)
  await until('a view', watch.view, (view) => view !== undefined)
  const leaders = () => watch.view()?.leader?.name
  await put('leader', 'first')
  await until('the first leader', leaders, (name) => name === 'first')
  // Each is written just after a read: without the stream the next read would be a second away.
  const startedMs = performance.now()
  for (const name of ['second', 'third', 'fourth', 'fifth', 'sixth', 'seventh']) {
    await put('leader', name)
    await until(`${name} to be seen`, leaders, (seen) => seen === name)
  }
  const tookMs = performance.now() - startedMs
  assert.ok(tookMs < 3000, `six changes were seen after ${tookMs} ms`)
})

test('a key is taken away only beside the synchronous replicas that were seen', async () => {
  await put('sync', '{"leader":"demo-1","sync_standby":"demo-2"}')
  await put('leader', 'demo-1')
  const seen = await until(
    'leader and replica',
    watch.view,
    (view) => view?.leader?.name === 'demo-1' && view.syncReplicas.length === 1,
  )
  assert.ok(seen?.leader !== undefined)
  await put('sync', '{"leader":"demo-1","sync_standby":null}')
  assert.equal(await watch.deleteLeaderKey(seen.leader, seen.syncRevision), false)
  assert.ok(await watch.refresh(5000))
  const alone = watch.view()
  assert.equal(alone?.leader?.name, 'demo-1')
  assert.equal(await watch.deleteLeaderKey(seen.leader, alone?.syncRevision), true)
})

test('a key is taken away without looking at replicas by who has fenced its holder', async () => {
  // A name of its own: the view may still hold the claim of the test before.
  await put('leader', 'fenced')
  const seen = await until('the leader', watch.view, (view) => view?.leader?.name === 'fenced')
  assert.ok(seen?.leader !== undefined)
  await put('sync', '{}')
  assert.equal(await watch.deleteLeaderKey(seen.leader), true)
  assert.equal(await watch.deleteLeaderKey(seen.leader), false)
})

test('a key is taken away where no synchronous replica was ever written', async () => {
  await root.call('kv/deleterange', { key: toBase64(`${PREFIX}sync`) })
  await put('leader', 'lonely')
  const seen = await until(
    'a leader and no replicas',
    watch.view,
    (view) => view?.leader?.name === 'lonely' && view.syncRevision === '0',
  )
  assert.ok(seen?.leader !== undefined)
  assert.equal(await watch.deleteLeaderKey(seen.leader, seen.syncRevision), true)
})

function parse(keys: Record<string, string>) {
  const pairs = Object.entries(keys).map(([name, value]) => {
    return { key: PREFIX + name, value, createRevision: '7', modRevision: '9', leaseId: '3' }
  })
  return parseView(PREFIX, pairs)
}

test('what Patroni writes is understood', () => {
  const history = JSON.stringify([
    [1, 100, 'no recovery target specified', 't', 'demo-2'],
    [2, 250, 'r', '2026-01-02T04:04:05.5+01:00', 'demo-1'],
  ])
  const view = parse({
    leader: 'demo-1',
    sync: '{"leader":"demo-1","sync_standby":"demo-2,demo-3"}',
    failover: '{"leader":"demo-1","member":"demo-2"}',
    config: '{"pause":true,"ttl":20}',
    initialize: '7300000000000000001',
    history,
    'members/demo-1': '{"role":"master"}',
  })
  assert.deepEqual(view, {
    leader: { name: 'demo-1', createRevision: '7', leaseId: '3' },
    syncReplicas: ['demo-2', 'demo-3'],
    syncRevision: '9',
    failover: { leader: 'demo-1', candidate: 'demo-2' },
    paused: true,
    initialized: true,
    lastTimeline: {
      timeline: 3,
      switchLsn: '250',
      newLeader: 'demo-1',
      at: '2026-01-02T03:04:05.500Z',
    },
  })
})

test('what is absent, empty or no JSON counts as nothing', () => {
  const nothing = parse({})
  assert.equal(nothing.leader, undefined)
  assert.deepEqual(nothing.syncReplicas, [])
  assert.equal(nothing.syncRevision, '0')
  const broken = parse({ leader: '', sync: '{', config: '[]', history: 'null', initialize: '' })
  assert.deepEqual(broken, { ...nothing, syncRevision: '9' })
})

test('a cluster is not made yet while its first instance is', () => {
  assert.equal(parse({ initialize: '' }).initialized, false)
  assert.equal(parse({}).initialized, false)
})

test('hosts begin with different members of the dcs, and each has all of them', () => {
  const endpoints = ['https://one', 'https://two', 'https://three']
  const orders = ['a', 'b', 'c', 'd', 'stranger'].map((hostId) => {
    return spreadEndpoints(watched(endpoints), hostId).dcs.endpoints
  })
  const firsts = orders.map((order) => order[0])
  assert.deepEqual(firsts, [endpoints[0], endpoints[1], endpoints[2], endpoints[0], endpoints[0]])
  for (const order of orders) assert.deepEqual([...order].sort(), [...endpoints].sort())
})

test('a host with a member of the dcs begins with its own', () => {
  const endpoints = ['https://10.0.0.3:2379', 'https://10.0.0.1:2379', 'https://10.0.0.2:2379']
  const peers = [1, 2, 3, 4].map((host) => ({ hostId: `host-${host}`, address: `10.0.0.${host}` }))
  const firsts = peers.map(({ hostId }) => {
    return spreadEndpoints({ ...watched(endpoints), peers }, hostId).dcs.endpoints[0]
  })
  assert.deepEqual(firsts, [endpoints[1], endpoints[2], endpoints[0], endpoints[0]])
})
