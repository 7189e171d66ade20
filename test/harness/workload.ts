// Owns the clients that work while faults happen: each does one kind of operation after the other,
// through the gateway or on a session of its own with one instance, and records what it was told.
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { TestCluster } from './cluster.ts'
import { endpointOf } from './cluster.ts'
import { type History, makeHistory } from './history.ts'
import {
  ACCOUNTS,
  CLIENT_KINDS,
  type ClientKind,
  KEYS,
  OPENING_BALANCE,
} from './workload-clients.ts'
import { makeSession, type SessionTarget } from './workload-session.ts'

export interface WorkloadOptions {
  cluster: TestCluster
  /** Its tables are in a schema of this name, made here. */
  schema: string
  /** Clients of each kind through the gateway. */
  gatewayClients?: Partial<Record<ClientKind, number>>
  /** Whether each instance also has clients of its own, connected before the fault. */
  directSessions?: boolean
  /** Seeds what the clients choose. */
  seed: number
  /** Between two operations of a client. */
  pauseMs?: number
}

export interface Workload {
  history: History
  /** Ends when every operation has its outcome. */
  stop(): Promise<void>
}

const GATEWAY_CLIENTS: Record<ClientKind, number> = { insert: 4, register: 2, lists: 3, bank: 2 }
/** A gateway holds its clients over a failover; a session of its own has nobody who would. */
const GATEWAY_TIMEOUT_MS = 30_000
const DIRECT_TIMEOUT_MS = 4000
const RECONNECT_PAUSE_MS = 100

export async function startWorkload(options: WorkloadOptions): Promise<Workload> {
  const { cluster, schema } = options
  await makeTables(cluster, schema)
  const history = makeHistory()
  const state = { stopping: false }
  const clients: Promise<void>[] = []
  const start = (name: string, kind: ClientKind, path: 'gateway' | 'direct', at: Address) => {
    const number = clients.length
    clients.push(runClient({ options, history, state, name, kind, path, number }, at))
  }
  const wanted = { ...GATEWAY_CLIENTS, ...options.gatewayClients }
  for (const kind of Object.keys(CLIENT_KINDS) as ClientKind[]) {
    for (let index = 0; index < wanted[kind]; index += 1) {
      start(`${kind}-${index}`, kind, 'gateway', endpointOf(cluster.cluster, 'write'))
    }
  }
  if (options.directSessions !== false) {
    for (const instance of cluster.cluster.instances) {
      for (const kind of ['insert', 'register'] as const) {
        start(`${kind}-${instance.name}`, kind, 'direct', instance)
      }
    }
  }
  return {
    history,
    async stop() {
      state.stopping = true
      await Promise.all(clients)
    },
  }
}

interface Address {
  address: string
  port: number
}

interface Client {
  options: WorkloadOptions
  history: History
  state: { stopping: boolean }
  name: string
  kind: ClientKind
  path: 'gateway' | 'direct'
  number: number
}

async function runClient(client: Client, at: Address): Promise<void> {
  const { options, history, state, name, kind, path, number } = client
  const timeoutMs = path === 'gateway' ? GATEWAY_TIMEOUT_MS : DIRECT_TIMEOUT_MS
  const session = makeSession(targetOf(options.cluster, at), timeoutMs)
  const next = CLIENT_KINDS[kind]({
    schema: options.schema,
    number,
    random: makeRandom(options.seed * 1000 + number),
  })
  const pauseMs = options.pauseMs ?? 10
  while (!state.stopping) {
    const { detail, operation } = next()
    const startedMs = performance.now()
    const result = await session.run(detail, operation)
    history.add({ client: name, path, startedMs, endedMs: performance.now(), ...result })
    await delay(session.isOpen() ? pauseMs : RECONNECT_PAUSE_MS)
  }
  await session.close()
}

function targetOf(cluster: TestCluster, at: Address): SessionTarget {
  const { credentials, caPem } = cluster
  return {
    host: at.address,
    port: at.port,
    user: credentials.role,
    password: credentials.password,
    database: credentials.database ?? 'app',
    caPem,
  }
}

async function makeTables(cluster: TestCluster, schema: string): Promise<void> {
  const { address, port } = endpointOf(cluster.cluster, 'write-direct')
  const session = makeSession(targetOf(cluster, { address, port }), GATEWAY_TIMEOUT_MS)
  const name = pg.escapeIdentifier(schema)
  const made = await session.run({ kind: 'connect' }, async ({ client, detail }) => {
    await client.query(`create schema ${name}
      create table entry (value bigint primary key)
      create table register (key integer primary key, value bigint not null)
      create table list (key integer primary key, items bigint[] not null)
      create table account (id integer primary key, balance bigint not null)`)
    await client.query(
      `insert into ${name}.register select g, 0 from generate_series(1, ${KEYS}) g`,
    )
    await client.query(`insert into ${name}.list select g, '{}' from generate_series(1, ${KEYS}) g`)
    await client.query(
      `insert into ${name}.account
       select g, ${OPENING_BALANCE} from generate_series(1, ${ACCOUNTS}) g`,
    )
    return { detail }
  })
  await session.close()
  if (made.outcome !== 'ok') throw new Error(`make the tables of ${schema}: ${made.reason}`)
}

/** Mulberry32: the same seed makes the same choices. */
export function makeRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
