// Owns the admin console of a PgBouncer: PAUSE holds clients, RESUME lets them go. A PAUSE waits
// for the running transactions, so it never returns behind an open one: every PAUSE here has a
// deadline, after which it is undone.
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import type pg from 'pg'
import { endSession, openSession } from '../pg-session.ts'

const CONNECT_TIMEOUT_MS = 2000
/** For every command but PAUSE, which waits for transactions. */
const ANSWER_TIMEOUT_MS = 2000

export interface PoolerAddress {
  address: string
  port: number
}

export interface WaitingClients {
  count: number
  /** Of the client that waits longest. */
  waitedMsMax: number
}

/**
 * An open session on the console; opening one costs a TLS handshake, which a hold does not want to
 * wait for.
 */
export interface PoolerConsole {
  /**
   * True when all clients are held; false when a transaction outlasted the deadline: then nothing
   * may be held.
   */
  pause(timeoutMs: number): Promise<boolean>
  /** Idempotent: a pooler that holds nobody stays as it is. */
  resume(): Promise<void>
  /** Server connections are replaced one by one as they become free; no client notices. */
  reconnect(): Promise<void>
  countWaiting(): Promise<WaitingClients>
  /** A row per database and user, with the columns of SHOW POOLS. */
  pools(): Promise<Record<string, string>[]>
  close(): Promise<void>
}

export async function openConsole(
  cluster: WatchedCluster,
  pooler: PoolerAddress,
): Promise<PoolerConsole> {
  const options = {
    host: pooler.address,
    port: pooler.port,
    database: 'pgbouncer',
    user: cluster.gatewayAdmin.user,
    password: cluster.gatewayAdmin.password,
    ssl: { ca: cluster.caPem, checkServerIdentity: () => undefined },
  }
  const client = await openSession(options, CONNECT_TIMEOUT_MS)
  return {
    pause: (timeoutMs) => pauseWithin(client, timeoutMs),
    resume: () => tolerate(client.query(bounded('RESUME')), /not (paused|suspended)/i),
    reconnect: () => tolerate(client.query(bounded('RECONNECT')), /^$/),
    countWaiting: async () => sumWaiting(await pools(client)),
    pools: () => pools(client),
    close: () => endSession(client),
  }
}

const bounded = (text: string) => ({ text, query_timeout: ANSWER_TIMEOUT_MS })

async function tolerate(command: Promise<unknown>, refusal: RegExp): Promise<void> {
  await command.catch((error: Error) => {
    if (!refusal.test(error.message)) throw error
  })
}

async function pauseWithin(client: pg.Client, timeoutMs: number): Promise<boolean> {
  // A second PAUSE is an error, and means what we want.
  const paused = tolerate(client.query('PAUSE'), /already (paused|suspended)/i).then(() => true)
  paused.catch(() => undefined)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs)
  })
  return Promise.race([paused, late]).finally(() => clearTimeout(timer))
}

async function pools(client: pg.Client): Promise<Record<string, string>[]> {
  return (await client.query<Record<string, string>>(bounded('SHOW POOLS'))).rows
}

/**
 * Pure. Without the pools of the platform's own database: a canary that was on its way when clients
 * were held waits with them, in its own pool or in that of the lookup of its role.
 */
export function sumWaiting(pools: readonly Record<string, string>[]): WaitingClients {
  const ownUsers: readonly string[] = [PLATFORM_ROLES.probe, PLATFORM_ROLES.pooler]
  const isOwn = (row: Record<string, string>) =>
    row['database'] === 'postgres' && ownUsers.includes(row['user'] ?? '')
  const rows = pools.filter((row) => !isOwn(row))
  const waitedMs = rows.map(
    (row) => Number(row['maxwait'] ?? 0) * 1000 + Number(row['maxwait_us'] ?? 0) / 1000,
  )
  return {
    count: rows.reduce((sum, row) => sum + Number(row['cl_waiting'] ?? 0), 0),
    waitedMsMax: Math.round(Math.max(0, ...waitedMs)),
  }
}
