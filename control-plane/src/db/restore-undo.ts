// Owns the restore_undo table: the data that a restore in place has set aside.
import type { Queryable } from '../database.ts'

export interface UndoRow {
  cluster_id: string
  operation_id: string
  /** Below each instance's own directory. */
  directory: string
  /** The last timeline that the data knows. */
  timeline: number
  expires_at: Date
}

const COLUMNS = 'cluster_id, operation_id, directory, timeline, expires_at'

/** Keeps what the same operation stored before: its step may run again when all is stopped. */
export async function insertUndo(
  db: Queryable,
  undo: {
    clusterId: string
    operationId: string
    directory: string
    timeline: number
    keepDays: number
  },
): Promise<void> {
  await db.query(
    `insert into restore_undo (cluster_id, operation_id, directory, timeline, expires_at)
     values ($1, $2, $3, $4, now() + make_interval(days => $5))
     on conflict (cluster_id) do update set operation_id = $2, directory = $3, timeline = $4,
       expires_at = now() + make_interval(days => $5)
     where restore_undo.operation_id <> $2`,
    [undo.clusterId, undo.operationId, undo.directory, undo.timeline, undo.keepDays],
  )
}

export async function findUndo(db: Queryable, clusterId: string): Promise<UndoRow | undefined> {
  const { rows } = await db.query<UndoRow>(
    `select ${COLUMNS} from restore_undo where cluster_id = $1`,
    [clusterId],
  )
  return rows[0]
}

/** Whose window has ended; not while an operation may be using it. */
export async function listExpiredUndos(db: Queryable): Promise<UndoRow[]> {
  const { rows } = await db.query<UndoRow>(
    `select ${COLUMNS} from restore_undo u where expires_at < now() and not exists (
       select from operation o where o.cluster_id = u.cluster_id
         and o.state in ('pending', 'running'))`,
  )
  return rows
}

export async function deleteUndo(db: Queryable, clusterId: string): Promise<void> {
  await db.query('delete from restore_undo where cluster_id = $1', [clusterId])
}
