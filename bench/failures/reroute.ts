// Owns the bench of rerouting: from the moment when a new leader accepts writes until the first
// client is with it, which may have begun to connect before: the former leader has ended by then.
// The candidate is asked directly, every other millisecond; the endpoint by clients of two kinds:
// those that only begin a session (so that ours can be seen in milliseconds), and those that log in
// and ask, as an application would. They come a little apart, and few: a thousand connections in a
// second would be what is measured.
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { connectSql, querySql, type SqlAddress } from '../sql.ts'
import type { Stack } from '../stack.ts'
import { settle, type Trial } from './trials.ts'

interface Arrival {
  endedMs: number
}

const ASK_MS = 2
const SESSIONS = { everyMs: 100, atOnceMax: 10 }
const HELLOS = { everyMs: 20, atOnceMax: 50 }
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
  const sessions = collect(ending.signal, SESSIONS, () => askEndpoint(stack.routed))
  // A peer's pooler answers it on every host, with or without a leader: it would prove nothing
  // there.
  const hellos =
    stack.routed.caPem === undefined
      ? []
      : collect(ending.signal, HELLOS, () => greet(stack.routed))
  const writable = awaitWritable(candidate.direct, ending.signal)
  await stack.switchover(to)
  const writableMs = await writable
  const arrived = () => sessions.find(({ endedMs }) => endedMs >= writableMs)
  const deadlineMs = performance.now() + ARRIVAL_TIMEOUT_MS
  while (arrived() === undefined && performance.now() < deadlineMs) await delay(5)
  ending.abort()
  await settle(stack)
  const session = arrived()
  const hello = hellos.find(({ endedMs }) => endedMs >= writableMs)
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

/** Not one after the other: one that meets a closed door must not delay the next. */
function collect(
  signal: AbortSignal,
  { everyMs, atOnceMax }: { everyMs: number; atOnceMax: number },
  attempt: () => Promise<boolean>,
): Arrival[] {
  const arrivals: Arrival[] = []
  let underWay = 0
  const timer = setInterval(async () => {
    if (underWay >= atOnceMax) return
    underWay += 1
    // Errors mean: not routed yet.
    if (await attempt().catch(() => false)) arrivals.push({ endedMs: performance.now() })
    underWay -= 1
  }, everyMs)
  signal.addEventListener('abort', () => clearInterval(timer))
  return arrivals
}

async function askEndpoint(address: SqlAddress): Promise<boolean> {
  const text = 'select pg_is_in_recovery() as replica'
  const rows = await querySql<{ replica: boolean }>(address, text, LOG_IN_LIMITS)
  return rows[0]?.replica === false
}

/** The first byte of an answer. */
async function greet(address: SqlAddress): Promise<boolean> {
  const socket = createConnection(address.port, address.host)
  try {
    socket.write(HELLO)
    await once(socket, 'data', { signal: AbortSignal.timeout(HELLO_TIMEOUT_MS) })
    return true
  } finally {
    socket.destroy()
  }
}
