// Owns an application that writes all the time, and remembers what it was promised: one row after
// the other, a new connection after an error. Tests ask it how often it was disturbed, and for how
// long.
import { connect, type SqlTarget, sql } from './cluster.ts'

export interface WriterReport {
  committed: number
  errors: string[]
  /** The longest time between two commits. */
  stallMsMax: number
  /** Rows that were acknowledged and are not there. */
  lost: number
}

export interface Writer extends AsyncDisposable {
  committed(): number
  /** Ends it and compares the table with what was acknowledged. */
  stop(): Promise<WriterReport>
}

export async function startWriter(target: SqlTarget, table: string): Promise<Writer> {
  await sql(target, `create table ${table} (number integer primary key)`)
  const state = { committed: 0, errors: [] as string[], stallMsMax: 0, stopping: false }
  const acknowledged: number[] = []
  const running = writeRows(target, table, state, acknowledged)
  const end = () => {
    state.stopping = true
    return running
  }
  return {
    // Of a test that failed half-way: a writer that goes on would keep the process alive.
    [Symbol.asyncDispose]: end,
    committed: () => state.committed,
    async stop() {
      await end()
      const rows = await sql<{ number: number }>(target, `select number from ${table}`)
      const there = new Set(rows.map(({ number }) => number))
      const lost = acknowledged.filter((number) => !there.has(number)).length
      const { committed, errors, stallMsMax } = state
      return { committed, errors, stallMsMax, lost }
    },
  }
}

async function writeRows(
  target: SqlTarget,
  table: string,
  state: { committed: number; errors: string[]; stallMsMax: number; stopping: boolean },
  acknowledged: number[],
): Promise<void> {
  let lastMs = performance.now()
  for (let number = 1; !state.stopping; ) {
    const client = await connect(target).catch((error: Error) => {
      state.errors.push(`connect: ${error.message}`)
    })
    try {
      while (client !== undefined && !state.stopping) {
        await client.query(`insert into ${table} values ($1)`, [number])
        acknowledged.push(number)
        state.committed += 1
        const nowMs = performance.now()
        state.stallMsMax = Math.max(state.stallMsMax, nowMs - lastMs)
        lastMs = nowMs
        number += 1
        await pause(10)
      }
    } catch (error) {
      state.errors.push((error as Error).message)
      // Whether it was committed is not known: its number is not used again.
      number += 1
    }
    await client?.end().catch(() => {})
    if (!state.stopping) await pause(50)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
