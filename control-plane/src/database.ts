// Owns the connections to the platform database: a pool, transactions, and nothing about tables.
import pg from 'pg'
import type { Log } from './log.ts'

/** What a query needs; a transaction's client or the pool. */
export interface Queryable {
  query<Row extends pg.QueryResultRow>(
    text: string,
    params?: unknown[],
  ): Promise<{ rows: Row[]; rowCount: number | null }>
}

export interface Database extends Queryable {
  readonly pool: pg.Pool
  transaction<T>(body: (tx: Queryable) => Promise<T>): Promise<T>
  close(): Promise<void>
}

// bigint as number: ids of events and revisions stay far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

const POOL_SIZE = 20
const STATEMENT_TIMEOUT_MS = 30_000

export function openDatabase(url: string, log: Log): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: POOL_SIZE,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'howdah-control-plane',
    keepAlive: true,
  })
  // Without a listener a connection that breaks while idle would end the process.
  pool.on('error', (error) => log.warn({ error: error.message }, 'idle database connection lost'))
  return {
    pool,
    query: (text, params) => pool.query(text, params),
    transaction: (body) => runTransaction(pool, body),
    close: () => pool.end(),
  }
}

async function runTransaction<T>(pool: pg.Pool, body: (tx: Queryable) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    await client.query('begin')
    const result = await body(client)
    await client.query('commit')
    return result
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => {
      broken = failure
    })
    throw error
  } finally {
    // A client that could not roll back is thrown away: it may hold a transaction open.
    client.release(broken)
  }
}

/** True for a violation of the named unique constraint or index. */
export function isUniqueViolation(error: unknown, constraint: string): boolean {
  return (
    error instanceof pg.DatabaseError && error.code === '23505' && error.constraint === constraint
  )
}
