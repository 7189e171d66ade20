// Owns how the agent asks an instance of its own host: a new session as superuser over the unix
// socket, for one statement, so that it finds what a new client would find.
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import pg from 'pg'
import { endSession, openSession } from '../pg-session.ts'

export type LocalAnswer =
  | { kind: 'rows'; rows: Record<string, unknown>[] }
  /** PostgreSQL said no. */
  | { kind: 'refusal' }
  /** Nothing in time, or the connection was lost. */
  | { kind: 'silence' }

interface Where {
  rootPath: string
  instance: { postgresPort: number }
}

/** Without waiting for replicas: what is asked is this host. */
export async function askLocally(
  { rootPath, instance }: Where,
  timeoutMs: number,
  text: string,
  params: readonly unknown[],
): Promise<LocalAnswer> {
  const options = {
    host: join(rootPath, HOST_LAYOUT.run),
    port: instance.postgresPort,
    user: PLATFORM_ROLES.superuser,
    password: '',
    database: 'postgres',
    query_timeout: timeoutMs,
    options: '-c search_path=pg_catalog,pg_temp -c synchronous_commit=local',
  }
  let client: pg.Client | undefined
  try {
    client = await openSession(options, timeoutMs)
    const { rows } = await client.query(text, [...params])
    return { kind: 'rows', rows: rows as Record<string, unknown>[] }
  } catch (error) {
    return { kind: error instanceof pg.DatabaseError ? 'refusal' : 'silence' }
  } finally {
    if (client !== undefined) await endSession(client)
  }
}

/** Whether it is a replica; undefined when it does not say. */
export async function isInRecovery(where: Where, timeoutMs: number): Promise<boolean | undefined> {
  const text = 'select pg_catalog.pg_is_in_recovery() as standby'
  const answer = await askLocally(where, timeoutMs, text, [])
  const standby = answer.kind === 'rows' ? answer.rows[0]?.['standby'] : undefined
  return typeof standby === 'boolean' ? standby : undefined
}
