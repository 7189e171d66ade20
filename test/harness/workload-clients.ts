// Owns what each kind of client does: the statements of one operation, and what is certain or
// possible while it is under way. Values are never used twice, so that a checker can tell whose a
// value is.
import type pg from 'pg'
import type { Acknowledger, Detail, Move } from './history.ts'
import { ACKNOWLEDGER_SQL, type Attempt, type Done, NotApplied } from './workload-session.ts'

export interface ClientNeeds {
  schema: string
  /** Distinct for each client of a workload. */
  number: number
  random: () => number
}

export interface NextOperation {
  detail: Detail
  operation: (attempt: Attempt) => Promise<Done>
}

export type ClientKind = 'insert' | 'register' | 'lists' | 'bank'

export const KEYS = 5
export const ACCOUNTS = 10
export const OPENING_BALANCE = 1000

/** Values of one client; more than a client can use up in a round. */
const VALUES_PER_CLIENT = 10_000_000

export const CLIENT_KINDS: Readonly<
  Record<ClientKind, (needs: ClientNeeds) => () => NextOperation>
> = { insert: inserts, register: registers, lists, bank }

function makeValues(number: number): () => number {
  let used = 0
  return () => {
    used += 1
    return (number + 1) * VALUES_PER_CLIENT + used
  }
}

const pick = (random: () => number, count: number) => 1 + Math.floor(random() * count)

function acknowledger(result: pg.QueryResult): Acknowledger {
  const row = result.rows[0] as Acknowledger | undefined
  if (row === undefined) throw new Error('BUG: an acknowledged write returned no row')
  return { instance: row.instance, timeline: row.timeline }
}

function inserts({ schema, number }: ClientNeeds): () => NextOperation {
  const value = makeValues(number)
  return () => {
    const detail: Detail = { kind: 'insert', value: value() }
    return {
      detail,
      async operation({ client, commits }) {
        commits()
        const result = await client.query(
          `insert into ${schema}.entry values ($1) returning ${ACKNOWLEDGER_SQL}`,
          [detail.value],
        )
        return { detail, by: acknowledger(result) }
      },
    }
  }
}

/** Reads a register, then replaces the value that it read; another client may have been faster. */
function registers({ schema, number, random }: ClientNeeds): () => NextOperation {
  const value = makeValues(number)
  const known = new Map<number, number>()
  return () => {
    const key = pick(random, KEYS)
    const from = known.get(key)
    if (from === undefined) {
      return {
        detail: { kind: 'read', key, value: -1 },
        async operation({ client }) {
          const { rows } = await client.query<{ value: string }>(
            `select value from ${schema}.register where key = $1`,
            [key],
          )
          known.set(key, Number(rows[0]?.value))
          return { detail: { kind: 'read', key, value: Number(rows[0]?.value) } }
        },
      }
    }
    known.delete(key)
    const detail: Detail = { kind: 'compare-and-set', key, from, to: value() }
    return {
      detail,
      async operation({ client, commits }) {
        commits()
        const result = await client.query(
          `update ${schema}.register set value = $1 where key = $2 and value = $3
           returning ${ACKNOWLEDGER_SQL}`,
          [detail.to, key, from],
        )
        if (result.rowCount === 0) throw new NotApplied('another value was there')
        return { detail, by: acknowledger(result) }
      },
    }
  }
}

async function inTransaction(
  attempt: Attempt,
  isolation: 'serializable' | 'repeatable read',
  body: (client: pg.Client) => Promise<void>,
): Promise<Acknowledger> {
  const { client } = attempt
  await client.query(`begin isolation level ${isolation}`)
  await body(client)
  const by = acknowledger(await client.query(`select ${ACKNOWLEDGER_SQL}`))
  attempt.commits()
  const { command } = await client.query('commit')
  if (command !== 'COMMIT') throw new NotApplied(`the commit was answered with ${command}`)
  return by
}

/**
 * One to three reads and appends of lists, serializable: the order of a list's items is the order
 * of its versions.
 */
function lists({ schema, number, random }: ClientNeeds): () => NextOperation {
  const value = makeValues(number)
  return () => {
    const plan = Array.from({ length: pick(random, 3) }, () => {
      const key = pick(random, KEYS)
      return random() < 0.5 ? { key } : { key, append: value() }
    })
    const appends = plan.filter((move): move is { key: number; append: number } => 'append' in move)
    return {
      detail: { kind: 'lists', moves: appends },
      async operation(attempt) {
        const moves: Move[] = []
        const by = await inTransaction(attempt, 'serializable', async (client) => {
          for (const move of plan) moves.push(await doMove(client, schema, move))
        })
        const wrote = appends.length > 0
        return { detail: { kind: 'lists', moves }, ...(wrote ? { by } : {}) }
      },
    }
  }
}

async function doMove(
  client: pg.Client,
  schema: string,
  move: { key: number; append?: number },
): Promise<Move> {
  if (move.append !== undefined) {
    await client.query(
      `update ${schema}.list set items = array_append(items, $1::bigint) where key = $2`,
      [move.append, move.key],
    )
    return { key: move.key, append: move.append }
  }
  const { rows } = await client.query<{ items: string[] }>(
    `select items from ${schema}.list where key = $1`,
    [move.key],
  )
  return { key: move.key, read: (rows[0]?.items ?? []).map(Number) }
}

/** Moves money, and sometimes counts all of it. */
function bank({ schema, number, random }: ClientNeeds): () => NextOperation {
  const value = makeValues(number)
  return () => {
    if (random() < 0.2) {
      return {
        detail: { kind: 'sum', sum: -1 },
        async operation({ client }) {
          const { rows } = await client.query<{ sum: string }>(
            `select sum(balance) as sum from ${schema}.account`,
          )
          return { detail: { kind: 'sum', sum: Number(rows[0]?.sum) } }
        },
      }
    }
    const [from, to] = [pick(random, ACCOUNTS), pick(random, ACCOUNTS)]
    const amount = pick(random, 20)
    const detail: Detail = { kind: 'transfer', value: value(), from, to, amount }
    return {
      detail,
      async operation(attempt) {
        const by = await inTransaction(attempt, 'repeatable read', async (client) => {
          const change = `update ${schema}.account set balance = balance + $1 where id = $2`
          await client.query(change, [-detail.amount, from])
          await client.query(change, [detail.amount, to])
          await client.query(`insert into ${schema}.entry values ($1)`, [detail.value])
        })
        return { detail, by }
      },
    }
  }
}
