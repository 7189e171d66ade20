// Owns seeing a cluster under fault as it is, without its control plane: who leads, whether all of
// it is healthy, and what each instance holds in the end. It asks Patroni and PostgreSQL of each
// instance.
import { readdirSync, readFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import pg from 'pg'
import { parse } from 'yaml'
import type { Holding } from './checker-anomaly.ts'
import { sql, type TestCluster } from './cluster.ts'
import type { Stage, StageHost } from './faults-stage.ts'
import { until } from './until.ts'

export interface SeenInstance {
  name: string
  host: StageHost
  address: string
  port: number
}

export interface Topology {
  leader: SeenInstance
  syncReplica: SeenInstance | undefined
  replicas: SeenInstance[]
  gateway: StageHost
  timeline: number
}

interface PatroniMember {
  name: string
  role: string
  state: string
  timeline?: number
}

const REST_TIMEOUT_MS = 2000
const CATCH_UP_TIMEOUT_MS = 30_000

function instancesOf(stage: Stage, cluster: TestCluster): SeenInstance[] {
  return cluster.cluster.instances.map(({ name, host: hostName, address, port }) => {
    const host = stage.hosts.find((one) => one.name === hostName)
    if (host === undefined) throw new Error(`${hostName} is not on the stage`)
    return { name, host, address, port }
  })
}

/** Where an instance's Patroni answers; written in its configuration, and nowhere in the API. */
function restAddress(instance: SeenInstance, cluster: TestCluster): string {
  const id = cluster.cluster.instances.find(({ name }) => name === instance.name)?.id ?? ''
  const file = join(instance.host.root, 'config', id, 'patroni.yml')
  const settings = parse(readFileSync(file, 'utf8')) as { restapi: { listen: string } }
  return settings.restapi.listen
}

async function askPatroni(instance: SeenInstance, cluster: TestCluster): Promise<PatroniMember[]> {
  const { promise, resolve, reject } = Promise.withResolvers<PatroniMember[]>()
  const url = `https://${restAddress(instance, cluster)}/cluster`
  https
    .get(url, { ca: cluster.caPem, agent: false, timeout: REST_TIMEOUT_MS }, (response) => {
      text(response).then(
        (answer) => resolve((JSON.parse(answer) as { members: PatroniMember[] }).members),
        reject,
      )
    })
    .on('timeout', function onTimeout(this: { destroy(error: Error): void }) {
      this.destroy(new Error(`${instance.name}: no answer of Patroni`))
    })
    .on('error', reject)
  return promise
}

/** Throws one sentence about what is missing. */
export async function seeHealthy(stage: Stage, cluster: TestCluster): Promise<Topology> {
  const instances = instancesOf(stage, cluster)
  const views = await Promise.all(instances.map((instance) => askPatroni(instance, cluster)))
  for (const [index, members] of views.entries()) {
    const said = members.map(({ role, state, timeline }) => `${role}/${state}/${timeline}`)
    const where = `${instances[index]?.name} sees ${said.join(', ')}`
    const leaders = members.filter(({ role }) => role === 'leader')
    const running = members.filter(({ state }) => state === 'running' || state === 'streaming')
    const timelines = new Set(members.map(({ timeline }) => timeline))
    if (leaders.length !== 1 || running.length !== instances.length) throw new Error(where)
    if (timelines.size !== 1) throw new Error(where)
    const needsSync = instances.length > 1 && cluster.cluster.spec.durability !== 'async'
    if (needsSync && !members.some(({ role }) => role === 'sync_standby')) throw new Error(where)
  }
  const members = views[0] ?? []
  const named = (name: string | undefined) => instances.find((one) => one.name === name)
  const leader = named(members.find(({ role }) => role === 'leader')?.name)
  if (leader === undefined) throw new Error('nobody leads')
  const sync = members.find(({ role }) => role === 'sync_standby')?.name
  const gatewayName = cluster.cluster.endpoints.find(({ purpose }) => purpose === 'write')?.address
  const gateway = stage.hosts.find(({ address }) => address === gatewayName)
  if (gateway === undefined) throw new Error('the gateway is not on the stage')
  return {
    leader,
    syncReplica: named(sync),
    replicas: instances.filter((one) => one !== leader),
    gateway,
    timeline: members.find(({ role }) => role === 'leader')?.timeline ?? 0,
  }
}

/** Healthy, replicating, and writable through the gateway. */
export async function awaitHealthy(
  stage: Stage,
  cluster: TestCluster,
  timeoutMs: number,
): Promise<Topology> {
  return until(`${cluster.cluster.name} to be healthy`, timeoutMs, async () => {
    const topology = await seeHealthy(stage, cluster)
    const { leader, replicas } = topology
    const [row] = await askInstance<{ lsn: string }>(
      cluster,
      leader,
      'select pg_current_wal_lsn()::text as lsn',
    )
    for (const replica of replicas) await seeReplayed(cluster, replica, row?.lsn ?? '')
    await sql({ cluster, purpose: 'write' }, 'create temporary table chaos_try (line text)')
    return { value: topology }
  })
}

function askInstance<Row extends pg.QueryResultRow>(
  cluster: TestCluster,
  at: SeenInstance,
  query: string,
  params: unknown[] = [],
): Promise<Row[]> {
  return sql<Row>({ cluster, at }, query, params)
}

async function seeReplayed(cluster: TestCluster, replica: SeenInstance, lsn: string) {
  const [row] = await askInstance<{ replayed: boolean; at: string }>(
    cluster,
    replica,
    `select pg_last_wal_replay_lsn() >= $1::pg_lsn as replayed,
       pg_last_wal_replay_lsn()::text as at`,
    [lsn],
  )
  if (row?.replayed !== true) throw new Error(`${replica.name} replayed ${row?.at} of ${lsn}`)
}

/**
 * What every instance holds once all have replayed what the leader has now; the workload has ended
 * before.
 */
export async function readHoldings(
  topology: Topology,
  cluster: TestCluster,
  schema: string,
): Promise<Holding[]> {
  const { leader, replicas } = topology
  const [row] = await askInstance<{ lsn: string }>(
    cluster,
    leader,
    'select pg_current_wal_lsn()::text as lsn',
  )
  await until('all instances to catch up', CATCH_UP_TIMEOUT_MS, async () => {
    for (const replica of replicas) await seeReplayed(cluster, replica, row?.lsn ?? '')
    return { value: true }
  })
  const holdings: Holding[] = []
  for (const at of [leader, ...replicas]) holdings.push(await readHolding(cluster, at, schema))
  return holdings
}

async function readHolding(
  cluster: TestCluster,
  at: SeenInstance,
  schema: string,
): Promise<Holding> {
  const name = pg.escapeIdentifier(schema)
  const ask = <Row extends pg.QueryResultRow>(query: string) => askInstance<Row>(cluster, at, query)
  const values = await ask<{ value: string }>(`select value from ${name}.entry`)
  const registers = await ask<{ key: number; value: string }>(`select * from ${name}.register`)
  const lists = await ask<{ key: number; items: string[] }>(`select * from ${name}.list`)
  const accounts = await ask<{ id: number; balance: string }>(`select * from ${name}.account`)
  return {
    instance: at.name,
    values: values.map(({ value }) => Number(value)),
    registers: new Map(registers.map(({ key, value }) => [key, Number(value)])),
    lists: new Map(lists.map(({ key, items }) => [key, items.map(Number)])),
    balances: new Map(accounts.map(({ id, balance }) => [id, Number(balance)])),
  }
}

export async function dropTables(cluster: TestCluster, schema: string): Promise<void> {
  const name = pg.escapeIdentifier(schema)
  await sql({ cluster, purpose: 'write-direct' }, `drop schema if exists ${name} cascade`)
}

/** As the superuser of one instance, over its socket: for what only a test does. */
export async function asSuperuser(instance: SeenInstance, statements: string[]): Promise<void> {
  const run = join(instance.host.root, 'run')
  if (!readdirSync(run).some((name) => name === `.s.PGSQL.${instance.port}`)) {
    throw new Error(`${instance.name} has no socket`)
  }
  const client = new pg.Client({
    host: run,
    port: instance.port,
    user: PLATFORM_ROLES.superuser,
    password: '',
    database: 'postgres',
    connectionTimeoutMillis: 5000,
  })
  client.on('error', () => undefined)
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}
