// Owns SQL on an instance of this host. The session may be a superuser's in a database whose owner
// is hostile, so the search path is fixed before the first statement runs.
import { isAbsolute, normalize } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import pg from 'pg'
import { endSession } from '../pg-session.ts'
import { TaskError } from './task-error.ts'

type SqlAction = Extract<TaskAction, { kind: 'sql' }>
type Statement = SqlAction['statements'][number]

export const RESULT_BYTES_MAX = 1024 * 1024
const CONNECT_TIMEOUT_MS = 5000

/**
 * Whatever the cluster's parameters say: applications' limits are not for us, and a statement that
 * holds a verifier must not stand in PostgreSQL's log, neither when it runs nor when it fails.
 */
const SOCKET_OPTIONS = [
  'search_path=pg_catalog,pg_temp',
  'lock_timeout=0',
  'idle_session_timeout=0',
  'idle_in_transaction_session_timeout=0',
  'default_transaction_isolation=read\\ committed',
  'client_min_messages=warning',
  'log_statement=none',
  'log_min_duration_statement=-1',
  'log_min_error_statement=panic',
]
  .map((setting) => `-c ${setting}`)
  .join(' ')

export interface SqlLimits {
  /** Unix sockets must lie below it: the agent may be root, and others' PostgreSQL is not ours. */
  rootPath: string
  timeoutMs: number
  signal: AbortSignal
}

/** One `{ rows }` per statement, in order. Throws TaskError with the SQLSTATE. */
export async function runSql(action: SqlAction, limits: SqlLimits): Promise<{ rows: unknown[] }[]> {
  const client = new pg.Client(clientOptions(action, limits))
  // Without a listener the loss of an idle connection would end the agent.
  client.on('error', () => undefined)
  const abort = () => destroy(client)
  limits.signal.addEventListener('abort', abort, { once: true })
  try {
    await client.connect()
    if (action.requireLeader) await requireLeader(client)
    const results: { rows: unknown[] }[] = []
    const budget = { bytes: RESULT_BYTES_MAX }
    for (const statement of action.statements) {
      results.push({ rows: await collectRows(client, statement, budget) })
    }
    return results
  } catch (error) {
    throw toTaskError(error)
  } finally {
    limits.signal.removeEventListener('abort', abort)
    await endSession(client)
  }
}

function clientOptions(action: SqlAction, limits: SqlLimits): pg.ClientConfig {
  const { connection } = action
  const overTcp = connection.caPem !== undefined
  if (!overTcp && !isBelow(connection.host, limits.rootPath)) {
    throw new TaskError('refused', 'a unix socket must lie below the root of the host')
  }
  return {
    host: connection.host,
    port: connection.port,
    user: connection.user,
    database: connection.database,
    // A string, never undefined: the driver would go and look for a password file.
    password: connection.password ?? '',
    connectionTimeoutMillis: Math.min(CONNECT_TIMEOUT_MS, limits.timeoutMs),
    application_name: 'howdah-agent',
    // A pooler refuses both, as they would outlive us in a session that others share. Over the
    // socket the search path is a startup option: no moment exists in which another one is in
    // force.
    ...(overTcp ? {} : { statement_timeout: limits.timeoutMs, options: SOCKET_OPTIONS }),
    ssl: overTcp
      ? {
          ca: connection.caPem as string,
          rejectUnauthorized: true,
          checkServerIdentity: () => undefined,
        }
      : false,
  }
}

function isBelow(path: string, rootPath: string): boolean {
  return isAbsolute(path) && normalize(path) === path && path.startsWith(`${rootPath}/`)
}

async function requireLeader(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ standby: boolean }>(
    'select pg_catalog.pg_is_in_recovery() as standby',
  )
  if (rows[0]?.standby !== false) {
    throw new TaskError('not-leader', 'the instance is in recovery: it is not the leader')
  }
}

/** Rows as they come, so that a result without an end fills neither memory nor the report. */
async function collectRows(
  client: pg.Client,
  statement: Statement,
  budget: { bytes: number },
): Promise<unknown[]> {
  const query =
    statement.params.length === 0
      ? new pg.Query(statement.text)
      : new pg.Query(statement.text, statement.params)
  return await new Promise((resolve, reject) => {
    const rows: unknown[] = []
    query.on('row', (row) => {
      budget.bytes -= Buffer.byteLength(JSON.stringify(row)) + 1
      if (budget.bytes >= 0) return void rows.push(row)
      reject(new TaskError('result-too-large', `the result exceeds ${RESULT_BYTES_MAX} bytes`))
      destroy(client)
    })
    query.on('error', reject)
    query.on('end', () => resolve(rows))
    client.query(query)
  })
}

// `end()` would wait for the running statement.
function destroy(client: pg.Client): void {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  connection?.stream?.destroy()
}

function toTaskError(error: unknown): TaskError {
  if (error instanceof TaskError) return error
  const said = describeError(error)
  if (error instanceof pg.DatabaseError) return new TaskError(error.code ?? '', said)
  // Everything else that the driver throws is about the connection: refused, lost, not trusted.
  const ours = error instanceof TypeError || error instanceof RangeError
  return new TaskError(ours ? '' : 'unreachable', said, { cause: error })
}
