// Owns an application that writes a numbered row every 5 ms whatever became of the ones before it,
// and remembers what was acknowledged. Its sessions are there before: logins by the dozen, with the
// handshakes of this very process, would be measured with the fault. The gap that a fault tears is
// the time between two acknowledgements, seen by this client alone.
import type pg from 'pg'
import { connectSql, querySql, type SqlAddress } from '../sql.ts'
import { type Acknowledgement, findLongestGap } from './acknowledgements.ts'

export interface ProbeReport {
  acknowledged: number
  failed: number
  /** Ticks at which every session was waiting: nothing was sent. */
  unsent: number
  /**
   * The longest time between two acknowledgements, and when it began, on `performance.now()`'s
   * clock.
   */
  gapMs: number
  gapStartMs: number
}

export interface WriteProbe {
  /** An acknowledged row that was sent after the moment. */
  hasWrittenSince(momentMs: number): boolean
  acknowledgements(): readonly Acknowledgement[]
  /** A second call reports the same. */
  stop(): Promise<ProbeReport>
  /** Rows that were acknowledged and are not there. Call it when the cluster is whole. */
  countLost(): Promise<number>
}

interface Session {
  client: pg.Client | undefined
  busy: boolean
}

interface ProbeState {
  address: SqlAddress
  next: number
  acknowledged: Acknowledgement[]
  failed: number
  unsent: number
}

const PERIOD_MS = 5
const SESSIONS_MAX = 64
/** Past every gateway, the address says which instance it was. */
const INSERT = 'insert into probe values ($1) returning host(inet_server_addr()) as server'
const LIMITS = { connectTimeoutMs: 2000, queryTimeoutMs: 20_000 }
const STOP_TIMEOUT_MS = 5000
/** Row numbers of one probe; the next one starts after them. */
const NUMBERS = 1_000_000

/** `round` keeps the row numbers of one stack's probes apart. */
export async function startWriteProbe(address: SqlAddress, round: number): Promise<WriteProbe> {
  await querySql(address, 'create table if not exists probe (number bigint primary key)')
  const first = round * NUMBERS
  const state: ProbeState = { address, next: first, acknowledged: [], failed: 0, unsent: 0 }
  const sessions: Session[] = Array.from({ length: SESSIONS_MAX }, () => {
    return { client: undefined, busy: false }
  })
  for (const session of sessions) await connect(session, address)
  const running = new Set<Promise<void>>()
  const tick = () => {
    // One that is connected, else one that has to connect.
    const idle = sessions.filter(({ busy }) => !busy)
    const session = idle.find(({ client }) => client !== undefined) ?? idle[0]
    if (session === undefined) {
      state.unsent += 1
      return
    }
    const work = send(state, session)
    running.add(work)
    void work.finally(() => running.delete(work))
  }
  const timer = setInterval(tick, PERIOD_MS)
  return {
    hasWrittenSince: (momentMs) => state.acknowledged.some(({ sentMs }) => sentMs > momentMs),
    acknowledgements: () => state.acknowledged,
    async stop() {
      clearInterval(timer)
      const late = new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref())
      await Promise.race([Promise.all(running), late])
      await Promise.all(sessions.map(({ client }) => endQuietly(client)))
      for (const session of sessions) session.client = undefined
      return report(state)
    },
    countLost: () => countLost(state, first),
  }
}

/** One that ends while idle is seen to have: its next row would only tell what is known. */
async function connect(session: Session, address: SqlAddress): Promise<pg.Client> {
  const client = await connectSql(address, LIMITS)
  client.once('end', () => {
    if (session.client === client) session.client = undefined
  })
  session.client = client
  return client
}

async function send(state: ProbeState, session: Session): Promise<void> {
  session.busy = true
  const number = state.next
  state.next += 1
  const sentMs = performance.now()
  try {
    const client = session.client ?? (await connect(session, state.address))
    const { rows } = await client.query<{ server: string | null }>(INSERT, [number])
    const server = rows[0]?.server ?? null
    state.acknowledged.push({ number, sentMs, ackedMs: performance.now(), server })
  } catch {
    state.failed += 1
    const { client } = session
    session.client = undefined
    void endQuietly(client)
  } finally {
    session.busy = false
  }
}

/** A session on a host that is gone would never answer its end. */
async function endQuietly(client: pg.Client | undefined): Promise<void> {
  if (client === undefined) return
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  const late = new Promise((resolve) => setTimeout(resolve, 500).unref())
  await Promise.race([client.end().catch(() => undefined), late])
  connection?.stream?.destroy()
}

function report(state: ProbeState): ProbeReport {
  const { failed, unsent, acknowledged } = state
  const { gapMs, startMs } = findLongestGap(acknowledged.map(({ ackedMs }) => ackedMs))
  const report = { acknowledged: acknowledged.length, failed, unsent }
  return { ...report, gapMs: Math.round(gapMs), gapStartMs: startMs }
}

async function countLost(state: ProbeState, first: number): Promise<number> {
  const text = `select number::int8::text as number from probe where number >= ${first}`
  const rows = await querySql<{ number: string }>(state.address, text)
  const there = new Set(rows.map(({ number }) => Number(number)))
  return state.acknowledged.filter(({ number }) => !there.has(number)).length
}
