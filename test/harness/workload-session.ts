// Owns one client's connection during faults: opened when needed, given up at the first sign that
// it is not trustworthy, and what its failures say about the operation that met them.
import pg from 'pg'
import type { Acknowledger, Detail, Outcome } from './history.ts'

export interface SessionTarget {
  host: string
  port: number
  user: string
  password: string
  database: string
  caPem: string
}

/** What one operation did; `by` for writes. */
export interface Done {
  detail: Detail
  by?: Acknowledger
}

/** Told to the session by the operation, so that a failure can be judged. */
export interface Attempt {
  client: pg.Client
  /** What is on its way; an operation refines it as it learns what it reads. */
  detail: Detail
  /** From here on the operation may take effect whatever the client sees. */
  commits(): void
}

export interface Result extends Done {
  outcome: Outcome
  reason?: string
  conflict?: boolean
}

/** The server answered, and nothing was changed. */
export class NotApplied extends Error {}

export interface Session {
  isOpen(): boolean
  run(first: Detail, operation: (attempt: Attempt) => Promise<Done>): Promise<Result>
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 3000

/** As columns: who acknowledges, and on which timeline it writes. */
export const ACKNOWLEDGER_SQL = `host(inet_server_addr()) as instance,
  ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer as timeline`

function makeClient(target: SessionTarget, timeoutMs: number): pg.Client {
  return new pg.Client({
    host: target.host,
    port: target.port,
    user: target.user,
    password: target.password,
    database: target.database,
    // pg names a host to TLS only when it is no address; without a name Node checks `localhost`.
    ssl: { ca: target.caPem, host: target.host } as pg.ClientConfig['ssl'] & object,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: timeoutMs,
  })
}

export function makeSession(target: SessionTarget, timeoutMs: number): Session {
  let client: pg.Client | undefined
  let warned = ''

  async function open(): Promise<pg.Client> {
    const fresh = makeClient(target, timeoutMs)
    fresh.on('error', () => {
      if (client === fresh) client = undefined
    })
    fresh.on('notice', (notice) => {
      if (/synchronous replication/.test(notice.message ?? '')) warned = notice.message ?? ''
    })
    try {
      await fresh.connect()
    } catch (error) {
      destroy(fresh)
      throw error
    }
    return fresh
  }

  function giveUp(): void {
    if (client !== undefined) destroy(client)
    client = undefined
  }

  return {
    isOpen: () => client !== undefined,
    async run(first, operation) {
      try {
        client ??= await open()
      } catch (error) {
        return { detail: first, outcome: 'fail', reason: `connect: ${(error as Error).message}` }
      }
      let mayApply = false
      warned = ''
      const attempt: Attempt = {
        client,
        detail: first,
        commits: () => {
          mayApply = true
        },
      }
      try {
        const done = await operation(attempt)
        if (warned === '') return { ...done, outcome: 'ok' }
        giveUp()
        return { detail: done.detail, outcome: 'unknown', reason: warned }
      } catch (error) {
        const certain = !mayApply || isRefusal(error)
        // A session in a failed transaction, or of an instance that is leaving, helps nobody.
        if (!isRefusal(error) || !(await rolledBack(client))) giveUp()
        const reason = (error as Error).message
        const conflict = isConflict(error)
        return { detail: attempt.detail, outcome: certain ? 'fail' : 'unknown', reason, conflict }
      }
    },
    async close() {
      giveUp()
    },
  }
}

/**
 * The server answered that it did nothing. Classes about connections and shutdowns promise no such
 * thing.
 */
function isRefusal(error: unknown): boolean {
  if (error instanceof NotApplied) return true
  if (!(error instanceof pg.DatabaseError) || error.severity !== 'ERROR') return false
  return /^(2[0-8]|40001|40P01|42|53|55|P0)/.test(error.code ?? '')
}

function isConflict(error: unknown): boolean {
  if (error instanceof NotApplied) return true
  return error instanceof pg.DatabaseError && /^40(001|P01)$/.test(error.code ?? '')
}

async function rolledBack(client: pg.Client | undefined): Promise<boolean> {
  try {
    await client?.query('rollback')
    return client !== undefined
  } catch {
    return false
  }
}

function destroy(client: pg.Client): void {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  connection?.stream?.destroy()
  void client.end().catch(() => undefined)
}
