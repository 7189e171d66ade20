// Owns the event table: the append-only story of the platform, and the cursor of the SSE stream.
import type { Event } from '@howdah/core/contract/operations.ts'
import { notifyChange } from '../changes.ts'
import type { Queryable } from '../database.ts'

const LOCK_KEY = 7_340_002

export interface NewEvent {
  kind: string
  message: string
  clusterId?: string | null
  hostId?: string | null
  operationId?: string | null
  data?: Record<string, unknown>
}

/**
 * Adds an event; must be the last statement of a transaction. The lock makes ids visible in their
 * order: without it a reader could see 8 before 7 is committed, move its cursor past it and never
 * show it.
 */
export async function addEvent(tx: Queryable, event: NewEvent): Promise<void> {
  await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
  await tx.query(
    `insert into event (kind, message, cluster_id, host_id, operation_id, data)
     values ($1, $2, $3, $4, $5, $6)`,
    [
      event.kind,
      event.message.slice(0, 4000).toWellFormed(),
      event.clusterId ?? null,
      event.hostId ?? null,
      event.operationId ?? null,
      JSON.stringify(event.data ?? {}),
    ],
  )
  await notifyChange(tx, 'events')
}

/** Which of these kinds was told last of a host, or of a cluster there; undefined: none was. */
export async function lastEventKind(
  db: Queryable,
  hostId: string,
  kinds: readonly string[],
  clusterId?: string,
): Promise<string | undefined> {
  const { rows } = await db.query<{ kind: string }>(
    `select kind from event
     where host_id = $1 and kind = any ($2) and ($3::text is null or cluster_id = $3)
     order by id desc limit 1`,
    [hostId, kinds, clusterId ?? null],
  )
  return rows[0]?.kind
}

export interface EventFilter {
  after: number
  clusterId?: string | undefined
  operationId?: string | undefined
  limit: number
}

interface EventRow {
  id: number
  kind: string
  message: string
  cluster_id: string | null
  host_id: string | null
  operation_id: string | null
  data: Record<string, unknown>
  at: Date
}

export async function listEvents(db: Queryable, filter: EventFilter): Promise<Event[]> {
  const { rows } = await db.query<EventRow>(
    `select id, kind, message, cluster_id, host_id, operation_id, data, at from event
     where id > $1 and ($2::text is null or cluster_id = $2)
       and ($3::text is null or operation_id = $3)
     order by id limit $4`,
    [filter.after, filter.clusterId ?? null, filter.operationId ?? null, filter.limit],
  )
  return rows.map((row) => ({ ...row, id: String(row.id), at: row.at.toISOString() }))
}

export async function newestEventId(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ id: number | null }>('select max(id) as id from event')
  return rows[0]?.id ?? 0
}
