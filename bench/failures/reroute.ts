// Owns the bench of rerouting: from the moment when a new leader accepts writes until a client that
// connects is with it. The candidate is asked directly, every millisecond; the endpoint by two
// clients: one that only begins a session (so that ours can be seen in milliseconds), and one that
// logs in and asks, as an application would.
import { createConnection } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { connectSql, querySql, type SqlAddress } from '../sql.ts'
import type { Stack } from '../stack.ts'
import { settle, type Trial } from './trials.ts'

interface Arrival {
  startedMs: number
  endedMs: number
}

const ASK_MS = 1
const LOG_IN_LIMITS = { connectTimeoutMs: 1000, queryTimeoutMs: 1000 }
const HELLO_TIMEOUT_MS = 1000
/** PostgreSQL's SSLRequest: answered with one byte by whoever is behind the endpoint. */
const HELLO = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const ARRIVAL_TIMEOUT_MS = 60_000

export const rerouteTrial: Trial = { kind: 'reroute', run: runReroute }

async function runReroute(stack: Stack): Promise<Record<string, unknown>> {
  const from = await stack.waitWhole()
  const to = await stack.candidate()
  const candidate = (await stack.instances()).find(({ name }) => name === to)
  if (candidate === undefined) throw new Error(`${stack.name} has no candidate`)
  const ending = new AbortController()
  const sessions = collect(ending.signal, () => askEndpoint(stack.routed))
  // A peer's pooler answers it on every host, with or without a leader: it would prove nothing
  // there.
  const hellos = stack.routed.caPem === undefined ? [] : greet(ending.signal, stack.routed)
  const writable = awaitWritable(candidate.direct, ending.signal)
  await stack.switchover(to)
  const writableMs = await writable
  const arrived = () => sessions.find(({ startedMs }) => startedMs >= writableMs)
  const deadlineMs = performance.now() + ARRIVAL_TIMEOUT_MS
  while (arrived() === undefined && performance.now() < deadlineMs) await delay(5)
  ending.abort()
  await settle(stack)
  const session = arrived()
  const hello = hellos.find(({ startedMs }) => startedMs >= writableMs)
  return {
    ...(session && { sessionMs: Math.round(session.endedMs - writableMs) }),
    ...(hello && { helloMs: Math.round((hello.endedMs - writableMs) * 10) / 10 }),
    from,
    to,
  }
}

async function awaitWritable(direct: SqlAddress, signal: AbortSignal): Promise<number> {
  const client = await connectSql(direct)
  try {
    while (!signal.aborted) {
      const answer = await client.query<{ replica: boolean }>('select pg_is_in_recovery() replica')
      if (answer.rows[0]?.replica === false) return performance.now()
      await delay(ASK_MS)
    }
    throw new Error('the candidate never accepted writes')
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** Attempts one after the other, those that found a leader. Errors mean: not routed yet. */
function collect(signal: AbortSignal, attempt: () => Promise<boolean>): Arrival[] {
  const arrivals: Arrival[] = []
  void (async () => {
    while (!signal.aborted) {
      const startedMs = performance.now()
      const found = await attempt().catch(() => false)
      if (found) arrivals.push({ startedMs, endedMs: performance.now() })
      await delay(ASK_MS)
    }
  })()
  return arrivals
}

async function askEndpoint(address: SqlAddress): Promise<boolean> {
  const text = 'select pg_is_in_recovery() as replica'
  const rows = await querySql<{ replica: boolean }>(address, text, LOG_IN_LIMITS)
  return rows[0]?.replica === false
}

/** Several at once, a millisecond apart: one that meets a closed door must not delay the next. */
function greet(signal: AbortSignal, address: SqlAddress): Arrival[] {
  const arrivals: Arrival[] = []
  const timer = setInterval(() => {
    const startedMs = performance.now()
    const socket = createConnection(address.port, address.host)
    socket.setTimeout(HELLO_TIMEOUT_MS, () => socket.destroy())
    socket.on('error', () => undefined)
    socket.on('connect', () => socket.write(HELLO))
    socket.on('data', () => {
      arrivals.push({ startedMs, endedMs: performance.now() })
      socket.destroy()
    })
  }, ASK_MS)
  signal.addEventListener('abort', () => clearInterval(timer))
  return arrivals
}
