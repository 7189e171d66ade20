// The promise: a way in that does not carry clients is told of although all of its services are up,
// what it went through refuses nobody who comes later, and readers stay on no replica that is
// behind.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Host } from '@howdah/core/contract/hosts.ts'
import type { Event } from '@howdah/core/contract/operations.ts'
import type pg from 'pg'
import { connect, type TestCluster } from '../harness/cluster.ts'
import { commandHostService, serviceProcess } from '../harness/host.ts'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { askPooler, findGateway, type GatewayPlace } from '../harness/pooler.ts'
import { superuserSql } from '../harness/superuser-sql.ts'
import { until } from '../harness/until.ts'

const SETTLE_TIMEOUT_MS = 90_000
/** A canary that is late is told after 12 s, a broken gateway after 20 s and a report. */
const BROKEN_TIMEOUT_MS = 90_000

let platform: TestPlatform
let alive: TestCluster
let gateway: GatewayPlace

before(async () => {
  if ('skip' in LONG) return
  platform = await startPlatform({ subnet: '127.74.0' })
  alive = await platform.createCluster('alive', { instances: 2 })
  gateway = findGateway(platform, 'host-4')
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

function well(): Promise<Cluster> {
  return until('the cluster to be well', SETTLE_TIMEOUT_MS, async () => {
    const { body } = await platform.api<Cluster>('GET', '/v1/clusters/alive')
    const { state, message, readiness } = body
    const missing = readiness.checks.filter(({ ok }) => !ok).map(({ name }) => name)
    const isWell = state === 'available' && missing.length === 0
    return isWell ? { value: body } : { seen: `${state} ${message} without ${missing}` }
  })
}

test('a login that failed, and that nobody waited for, refuses no later client', LONG, async () => {
  const haproxy = `haproxy-${gateway.id}`
  const database = alive.credentials.database ?? 'app'
  await using pooler = await askPooler(platform, alive, gateway)
  // It would start it again.
  await commandHostService(platform, gateway.host, 'agent', '-wD', '-T', '20000', '-Ok')
  await commandHostService(platform, gateway.host, haproxy, '-wD', '-d')
  try {
    // The first one waits.
    await until('a client to be refused', SETTLE_TIMEOUT_MS, async () => {
      const said = await platform
        .sql({ cluster: alive }, 'select 1')
        .catch(({ message }) => message)
      const isRefused = /server login has been failing/.test(String(said))
      return isRefused ? { value: true } : { seen: JSON.stringify(said) }
    })
    await until('the pooler to drop who waited', SETTLE_TIMEOUT_MS, async () => {
      const waiting = await pooler.lookedUp(database)
      return waiting === 0 ? { value: true } : { seen: `${waiting}` }
    })
  } finally {
    await commandHostService(platform, gateway.host, haproxy, '-u')
    await commandHostService(platform, gateway.host, 'agent', '-u')
  }
  await until('the lookups to have a session', SETTLE_TIMEOUT_MS, async () => {
    const sessions = await pooler.lookups(database)
    return sessions > 0 ? { value: true } : { seen: `${sessions}` }
  })
  await platform.sql({ cluster: alive }, 'select 1')
})

async function gatewayEvents(): Promise<Event[]> {
  const told: Event[] = []
  for (let after = '0'; ; ) {
    const path = `/v1/events?cluster=${alive.cluster.id}&after=${after}&limit=1000`
    const { body } = await platform.api<{ data: Event[]; last_id: string }>('GET', path)
    if (body.data.length === 0) return told
    told.push(...body.data.filter(({ kind }) => kind.startsWith('gateway.')))
    after = body.last_id
  }
}

/** All but the first `known` of them, once there are these. */
async function waitGatewayEvents(known: number, ...kinds: string[]): Promise<Event[]> {
  return until(`the events ${kinds}`, BROKEN_TIMEOUT_MS, async () => {
    const told = (await gatewayEvents()).slice(known)
    const seen = told.map(({ kind }) => kind).join()
    return seen === kinds.join() ? { value: told } : { seen }
  })
}

test('a gateway that carries no writes is told, though its services are ready', LONG, async () => {
  await well()
  const known = (await gatewayEvents()).length
  const service = `pgbouncer-write-${gateway.id}`
  const pooler = serviceProcess(platform, gateway.host, service)
  assert.ok(pooler)
  process.kill(pooler.pid, 'SIGSTOP')
  try {
    const seen = await until('the cluster to say so', BROKEN_TIMEOUT_MS, async () => {
      const { body: shown } = await platform.api<Cluster>('GET', '/v1/clusters/alive')
      const found = shown.readiness.checks.filter(({ ok }) => !ok)
      const isSaid = found.some(({ name }) => name === 'writes')
      return isSaid ? { value: { ...shown, found } } : { seen: JSON.stringify(found) }
    })
    assert.deepEqual(
      seen.found.map(({ name }) => name),
      ['writes'],
    )
    const said = /^alive-gateway-1 has not carried a write for \d+ s: cannot log in: /
    assert.match(seen.found[0]?.message ?? '', said)
    assert.equal(seen.state, 'degraded')
    assert.match(seen.message, said)
    const [broken] = await waitGatewayEvents(known, 'gateway.broken')
    assert.match(broken?.message ?? '', said)
    const { body: host } = await platform.api<Host>('GET', `/v1/hosts/${gateway.host}`)
    assert.equal(host.services.find(({ name }) => name === service)?.ready, true)
  } finally {
    process.kill(pooler.pid, 'SIGCONT')
  }
  await waitGatewayEvents(known, 'gateway.broken', 'gateway.works')
  const { readiness } = await well()
  assert.equal(readiness.checks.find(({ name }) => name === 'writes')?.ok, true)
  assert.equal(serviceProcess(platform, gateway.host, service)?.pid, pooler.pid)
})

/** A query of the reader that failed would be the test's failure. */
async function readsFrom(reader: pg.Client, isReplica: boolean): Promise<void> {
  const where = isReplica ? 'the replica' : 'the leader'
  await until(`the reader to be on ${where}`, SETTLE_TIMEOUT_MS, async () => {
    const { rows } = await reader.query('select pg_is_in_recovery() as found')
    return rows[0]?.found === isReplica ? { value: true } : { seen: JSON.stringify(rows) }
  })
}

test('a pooled reader leaves a replica that is behind, and comes back', LONG, async () => {
  const { instances } = await well()
  const replica = instances.find(({ role }) => role !== 'leader')
  assert.ok(replica)
  const findReplay = `select pid from pg_stat_activity where backend_type = 'startup'`
  const [replay] = await superuserSql<{ pid: number }>(platform, 'alive', findReplay, replica)
  assert.ok(replay)
  const reader = await connect({ cluster: alive, purpose: 'read' })
  try {
    await readsFrom(reader, true)
    // Patroni would end a pause by pg_wal_replay_pause() at once.
    process.kill(replay.pid, 'SIGSTOP')
    // More than the 16 MB that a reader is allowed to miss.
    const rows = 'select repeat(md5(n::text), 30) from generate_series(1, 40000) n'
    await platform.sql({ cluster: alive }, `create table junk as ${rows}`)
    await readsFrom(reader, false)
    process.kill(replay.pid, 'SIGCONT')
    await readsFrom(reader, true)
  } finally {
    process.kill(replay.pid, 'SIGCONT')
    await reader.end()
  }
})
