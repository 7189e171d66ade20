// Owns the guard_event table.
import type { GuardEvent } from '@howdah/core/protocol.ts'
import type { Queryable } from '../database.ts'

/** True when it was not stored before: an agent repeats itself until it knows that it was heard. */
export async function insertGuardEvent(
  tx: Queryable,
  hostId: string,
  event: GuardEvent,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `insert into guard_event (id, cluster_id, host_id, at, event) values ($1, $2, $3, $4, $5)
     on conflict (id) do nothing`,
    [event.id, event.clusterId, hostId, event.at, JSON.stringify(event)],
  )
  return rowCount === 1
}

/** The newest first. */
export async function listGuardEvents(
  db: Queryable,
  clusterId: string,
  limit: number,
): Promise<GuardEvent[]> {
  const { rows } = await db.query<{ event: GuardEvent }>(
    'select event from guard_event where cluster_id = $1 order by at desc, id limit $2',
    [clusterId, limit],
  )
  return rows.map((row) => row.event)
}
