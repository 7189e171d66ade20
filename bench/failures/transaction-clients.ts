// Owns sixteen applications with transactions of several statements, each a round trip of its own,
// so that a change of leader meets many of them half way. What one of them sees as an error counts;
// none is tried again in secret.
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { connectSql, querySql, type SqlAddress } from '../sql.ts'

export interface ClientsReport {
  committed: number
  failed: number
  /** Clients that saw at least one error. */
  disturbed: number
  /** The longest that any client was without a commit. */
  stallMs: number
  /** The most that any client was in stalls of more than `STALL_MS`, all of them together. */
  stalledMs: number
  /** Error texts, each once, at most a handful. */
  errors: string[]
  /** Acknowledged transactions that are not there. */
  lost: number
}

interface ClientState {
  number: number
  committed: number[]
  failed: number
  lastMs: number
  stallMs: number
  stalledMs: number
}

export const CLIENTS = 16
const THINK_MS = 5
/** Shorter ones are this machine's own. */
const STALL_MS = 100
const RECONNECT_MS = 10
const ERRORS_MAX = 5
const LIMITS = { connectTimeoutMs: 5000, queryTimeoutMs: 60_000 }
/** Row numbers of one client in one run. */
const NUMBERS = 1_000_000

export interface TransactionClients {
  /** Commits of the client that has the fewest: all of them must be at work before a fault. */
  committedMin(): number
  /**
   * Ends them and compares what is there with what was acknowledged; call it when the cluster is
   * whole.
   */
  stop(): Promise<ClientsReport>
}

/** `round` keeps the rows of one stack's runs apart. */
export async function startTransactionClients(
  address: SqlAddress,
  round: number,
): Promise<TransactionClients> {
  await querySql(address, 'create table if not exists ledger (number bigint primary key)')
  await querySql(address, 'create table if not exists account (client int4, balance int4)')
  await querySql(address, 'truncate account')
  await querySql(address, `insert into account select *, 0 from generate_series(1, ${CLIENTS})`)
  const errors = new Set<string>()
  const signal = { stopping: false }
  const states = Array.from({ length: CLIENTS }, (_, index): ClientState => {
    const number = index + 1
    return {
      ...{ number, committed: [], failed: 0 },
      ...{ lastMs: performance.now(), stallMs: 0, stalledMs: 0 },
    }
  })
  const first = round * (CLIENTS + 1) * NUMBERS
  const running = states.map((state) => runClient(address, state, first, signal, errors))
  return {
    committedMin: () => Math.min(...states.map(({ committed }) => committed.length)),
    async stop() {
      signal.stopping = true
      // A client that is without a commit until the end was so for at least this long.
      for (const state of states) noteStall(state)
      await Promise.all(running)
      const acknowledged = states.flatMap(({ committed }) => committed)
      return {
        committed: acknowledged.length,
        failed: states.reduce((sum, { failed }) => sum + failed, 0),
        disturbed: states.filter(({ failed }) => failed > 0).length,
        stallMs: Math.round(Math.max(...states.map(({ stallMs }) => stallMs))),
        stalledMs: Math.round(Math.max(...states.map(({ stalledMs }) => stalledMs))),
        errors: [...errors].slice(0, ERRORS_MAX),
        lost: await countLost(address, first, acknowledged),
      }
    },
  }
}

async function runClient(
  address: SqlAddress,
  state: ClientState,
  first: number,
  signal: { stopping: boolean },
  errors: Set<string>,
): Promise<void> {
  let client: pg.Client | undefined
  let number = first + state.number * NUMBERS
  while (!signal.stopping) {
    number += 1
    try {
      client ??= await connectSql(address, LIMITS)
      await transact(client, state.number, number)
      noteCommit(state, number)
      await delay(THINK_MS)
    } catch (error) {
      state.failed += 1
      errors.add((error as Error).message)
      void client?.end().catch(() => undefined)
      client = undefined
      await delay(RECONNECT_MS)
    }
  }
  await client?.end().catch(() => undefined)
}

async function transact(client: pg.Client, account: number, number: number): Promise<void> {
  await client.query('begin')
  await client.query('insert into ledger values ($1)', [number])
  await client.query('update account set balance = balance + 1 where client = $1', [account])
  await client.query('commit')
}

function noteStall(state: ClientState): void {
  const nowMs = performance.now()
  // Before the first one it had to connect: that is no stall.
  if (state.committed.length > 0) {
    const ms = nowMs - state.lastMs
    state.stallMs = Math.max(state.stallMs, ms)
    if (ms > STALL_MS) state.stalledMs += ms
  }
  state.lastMs = nowMs
}

function noteCommit(state: ClientState, number: number): void {
  noteStall(state)
  state.committed.push(number)
}

async function countLost(
  address: SqlAddress,
  first: number,
  acknowledged: readonly number[],
): Promise<number> {
  const text = `select number::text as number from ledger where number >= ${first}`
  const rows = await querySql<{ number: string }>(address, text)
  const there = new Set(rows.map(({ number }) => Number(number)))
  return acknowledged.filter((number) => !there.has(number)).length
}
