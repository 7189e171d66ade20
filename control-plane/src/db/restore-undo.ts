// Owns the restore_undo and taken_back tables: the data that restores in place have set aside, what
// an undo needs to know of then, and the moments that they have left behind.
import type { TakenBack } from '@howdah/core/recovery-plan.ts'
import type { Queryable } from '../database.ts'

export interface UndoRow {
  cluster_id: string
  /** Who is at it now: a restore, or the undo. */
  operation_id: string
  /** Below each instance's own directory. */
  directory: string
  /** The instance that led then; null where none did. */
  leader_id: string | null
  /** All that the archive held then; null where nobody knows. */
  timelines: number[] | null
  /** Whose data was set aside; null until that is done for all. */
  instances: string[] | null
  created_at: Date
  expires_at: Date
}

const COLUMNS = `cluster_id, operation_id, directory, leader_id, timelines, instances, created_at,
  expires_at`

/**
 * Made by the first restore, and kept by further ones: what there was before the first is what an
 * undo brings back. The same one may come again when all is stopped: nothing changes then.
 */
export async function ensureUndo(
  tx: Queryable,
  undo: {
    clusterId: string
    operationId: string
    leaderId: string | null
    timelines: readonly number[] | null
    keepDays: number
  },
): Promise<void> {
  // Of one that stopped nothing, as somebody leads: the cluster went on, and it is out of date.
  if (undo.leaderId !== null) {
    await tx.query(
      `delete from restore_undo
       where cluster_id = $1 and instances is null`,
      [undo.clusterId],
    )
  }
  await tx.query(
    `insert into restore_undo
       (cluster_id, operation_id, directory, leader_id, timelines, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(days => $6))
     on conflict (cluster_id) do update
       set operation_id = excluded.operation_id, expires_at = excluded.expires_at
     where restore_undo.operation_id <> $2`,
    [
      undo.clusterId,
      undo.operationId,
      `before_${undo.operationId}`,
      undo.leaderId,
      undo.timelines,
      undo.keepDays,
    ],
  )
}

/** From now on it is that operation's, and nobody else's. */
export async function claimUndo(
  tx: Queryable,
  clusterId: string,
  operationId: string,
): Promise<void> {
  await tx.query('update restore_undo set operation_id = $2 where cluster_id = $1', [
    clusterId,
    operationId,
  ])
}

export async function storeSetAside(
  db: Queryable,
  clusterId: string,
  instances: readonly string[],
): Promise<void> {
  await db.query('update restore_undo set instances = $2 where cluster_id = $1', [
    clusterId,
    instances,
  ])
}

export async function findUndo(db: Queryable, clusterId: string): Promise<UndoRow | undefined> {
  const { rows } = await db.query<UndoRow>(
    `select ${COLUMNS} from restore_undo where cluster_id = $1`,
    [clusterId],
  )
  return rows[0]
}

/** A cluster that is closed because it is taken back to a moment, or brought back from there. */
export interface ClosedCluster {
  cluster_id: string
  name: string
  /** Of the restore or the undo. */
  operation_id: string
  failed: boolean
}

/**
 * Only where that came last: an undelete is `restoring` too, and its gateways may have ports that
 * another cluster has taken meanwhile.
 */
export async function listClosedClusters(db: Queryable): Promise<ClosedCluster[]> {
  const { rows } = await db.query<ClosedCluster>(
    `select c.id as cluster_id, c.name, o.id as operation_id, c.state = 'failed' as failed
     from cluster c join lateral (
       select id, kind from operation
       where cluster_id = c.id and lane = 'cluster' and state <> 'scheduled'
       order by id desc limit 1) o on true
     where c.state in ('restoring', 'failed') and o.kind in ('restore-cluster', 'undo-restore')`,
  )
  return rows
}

/**
 * Whose window has ended; not while an operation may be using it, nor while the cluster does not
 * serve: then it may be the only copy that there is.
 */
export async function listExpiredUndos(db: Queryable): Promise<UndoRow[]> {
  const { rows } = await db.query<UndoRow>(
    `select ${COLUMNS} from restore_undo u where expires_at < now()
       and exists (select from cluster c where c.id = u.cluster_id and c.state = 'available')
       and not exists (select from operation o where o.cluster_id = u.cluster_id
         and o.state in ('pending', 'running'))`,
  )
  return rows
}

export async function deleteUndo(db: Queryable, clusterId: string): Promise<void> {
  await db.query('delete from restore_undo where cluster_id = $1', [clusterId])
}

/** Keeps the first: the step may run again later. */
export async function insertTakenBack(
  db: Queryable,
  clusterId: string,
  operationId: string,
  takenBack: { from: Date; lsn: string },
): Promise<void> {
  await db.query(
    `insert into taken_back (cluster_id, operation_id, from_at, lsn) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [clusterId, operationId, takenBack.from, takenBack.lsn],
  )
}

export async function listTakenBack(db: Queryable, clusterId: string): Promise<TakenBack[]> {
  const { rows } = await db.query<{ from_at: Date; to_at: Date; lsn: string }>(
    'select from_at, to_at, lsn from taken_back where cluster_id = $1',
    [clusterId],
  )
  return rows.map((row) => ({
    fromMs: row.from_at.getTime(),
    toMs: row.to_at.getTime(),
    lsn: row.lsn,
  }))
}

/** An undo has brought it again. */
export async function deleteTakenBack(db: Queryable, undo: UndoRow): Promise<void> {
  await db.query('delete from taken_back where cluster_id = $1 and to_at >= $2', [
    undo.cluster_id,
    undo.created_at,
  ])
}
