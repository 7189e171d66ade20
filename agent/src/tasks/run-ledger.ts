// Owns the writer of a game day: numbered rows through the write endpoint, one every few
// milliseconds, and the questions that matter afterwards: what was refused, how long nobody could
// write, what is missing, and whether two instances accepted writes at one moment.
import { randomUUID } from 'node:crypto'
import type { TaskAction } from '@howdah/core/protocol.ts'
import type pg from 'pg'
import { endSession, openSession } from '../pg-session.ts'
import { pause } from '../wake.ts'
import { makeLeaderRuns } from './leader-runs.ts'
import { measureGaps } from './ledger-gaps.ts'

type LedgerAction = Extract<TaskAction, { kind: 'run-ledger' }>

const PERIOD_MS = 5
const WRITE_TIMEOUT_MS = 5000
const LEADERS_PERIOD_MS = 100
const READ_BACK_MS = 60_000

export interface LedgerReport {
  acknowledged: number
  failed: number
  lost: number
  longest_gap_ms: number
  gaps_ms: number
  leaders_at_once_max: number
  watched_ms: number
}

export async function runLedger(asked: LedgerAction, signal: AbortSignal): Promise<LedgerReport> {
  // A task that died with its agent comes again, and an operation that is tried again does not end
  // the one before: each has rows of its own.
  const action = { ...asked, run: `${asked.run}/${randomUUID()}` }
  const startedMs = performance.now()
  const over = () => signal.aborted || performance.now() - startedMs >= action.durationMs
  const leaders = countLeaders(action, over, signal)
  const acknowledged: number[] = []
  let failed = 0
  const momentsMs = [startedMs]
  let client: pg.Client | undefined
  for (let number = 1; !over(); number += 1) {
    try {
      client ??= await connect(action, action.endpoint)
      await client.query('insert into howdah.ledger (run, number) values ($1, $2)', [
        action.run,
        number,
      ])
      momentsMs.push(performance.now())
      acknowledged.push(number)
    } catch {
      failed += 1
      await client?.end().catch(() => undefined)
      client = undefined
    }
    await pause(PERIOD_MS, signal)
  }
  // Whatever comes now is not watched, and must not look like time in which writes went on.
  const endedMs = performance.now()
  momentsMs.push(endedMs)
  await client?.end().catch(() => undefined)
  const gaps = measureGaps(momentsMs)
  const found = await readBack(action, signal)
  return {
    acknowledged: acknowledged.length,
    failed,
    lost: acknowledged.filter((number) => !found.has(number)).length,
    longest_gap_ms: gaps.longestMs,
    gaps_ms: gaps.sumMs,
    leaders_at_once_max: await leaders,
    watched_ms: Math.round(endedMs - startedMs),
  }
}

function connect(action: LedgerAction, to: { address: string; port: number }): Promise<pg.Client> {
  const options = {
    host: to.address,
    port: to.port,
    user: action.user,
    password: action.password,
    database: 'postgres',
    query_timeout: WRITE_TIMEOUT_MS,
    ssl: { ca: action.caPem, checkServerIdentity: () => undefined },
  }
  return openSession(options, WRITE_TIMEOUT_MS)
}

/** What is there once somebody can be asked; the rows are removed afterwards. */
async function readBack(action: LedgerAction, signal: AbortSignal): Promise<Set<number>> {
  const deadlineMs = performance.now() + READ_BACK_MS
  for (;;) {
    try {
      const client = await connect(action, action.endpoint)
      try {
        const { rows } = await client.query<{ number: string }>(
          'select number from howdah.ledger where run = $1',
          [action.run],
        )
        await client.query('delete from howdah.ledger where run = $1', [action.run])
        return new Set(rows.map((row) => Number(row.number)))
      } finally {
        await endSession(client)
      }
    } catch (error) {
      if (signal.aborted || performance.now() > deadlineMs) throw error
      await pause(200, signal)
    }
  }
}

/** Asks every instance directly, all the time, whether it accepts writes. */
async function countLeaders(
  action: LedgerAction,
  over: () => boolean,
  signal: AbortSignal,
): Promise<number> {
  const runs = makeLeaderRuns(() => performance.now())
  const watchers = action.instances.map(async (instance) => {
    const key = `${instance.address}:${instance.port}`
    let client: pg.Client | undefined
    while (!over()) {
      const askedMs = performance.now()
      try {
        client ??= await connect(action, instance)
        const { rows } = await client.query<{ standby: boolean }>(
          'select pg_catalog.pg_is_in_recovery() as standby',
        )
        runs.note({ instance: key, askedMs, leads: rows[0]?.standby === false })
      } catch {
        runs.note({ instance: key, askedMs, leads: undefined })
        await client?.end().catch(() => undefined)
        client = undefined
      }
      await pause(LEADERS_PERIOD_MS, signal)
    }
    await client?.end().catch(() => undefined)
  })
  await Promise.all(watchers)
  return runs.most()
}
