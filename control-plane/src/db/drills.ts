// Owns the drill table.
import type { Drill, GameDayReport, RestoreDrillReport } from '@howdah/core/contract/drills.ts'
import { newId } from '@howdah/core/ids.ts'
import type { Queryable } from '../database.ts'

interface DrillRow extends Omit<Drill, 'created_at'> {
  created_at: Date
}

export async function insertDrill(
  tx: Queryable,
  drill: { kind: string; clusterId: string; operationId: string },
): Promise<string> {
  const id = newId('drill')
  await tx.query('insert into drill (id, kind, cluster_id, operation_id) values ($1, $2, $3, $4)', [
    id,
    drill.kind,
    drill.clusterId,
    drill.operationId,
  ])
  return id
}

/** One per operation, however often the step that asks for it runs. */
export async function ensureDrill(
  db: Queryable,
  drill: { kind: string; clusterId: string; operationId: string },
): Promise<void> {
  await db.query(
    `insert into drill (id, kind, cluster_id, operation_id) select $1, $2, $3, $4
     where not exists (select from drill where operation_id = $4)`,
    [newId('drill'), drill.kind, drill.clusterId, drill.operationId],
  )
}

/** The report grows with each round: an interrupted game day keeps what it saw. */
export async function storeReport(
  db: Queryable,
  operationId: string,
  report: GameDayReport | RestoreDrillReport,
): Promise<void> {
  await db.query('update drill set report = $2 where operation_id = $1', [
    operationId,
    JSON.stringify(report),
  ])
}

/** Undefined before anything was seen. */
export async function readReport(
  db: Queryable,
  operationId: string,
): Promise<Drill['report'] | undefined> {
  const { rows } = await db.query<Pick<Drill, 'report'>>(
    'select report from drill where operation_id = $1',
    [operationId],
  )
  return rows[0]?.report ?? undefined
}

/** Names of WAL segments of the cluster that some drill could not replay. */
export async function listBrokenSegments(db: Queryable, clusterId: string): Promise<string[]> {
  const { rows } = await db.query<{ segment: string }>(
    `select distinct report->>'broken_segment' as segment from drill
     where cluster_id = $1 and report->>'broken_segment' is not null`,
    [clusterId],
  )
  return rows.map(({ segment }) => segment)
}

/** The newest first. */
export async function listDrills(db: Queryable, clusterId: string): Promise<Drill[]> {
  const { rows } = await db.query<DrillRow>(
    `select id, kind, cluster_id, operation_id, report, created_at from drill
     where cluster_id = $1 order by id desc limit 100`,
    [clusterId],
  )
  return rows.map((row) => ({ ...row, created_at: row.created_at.toISOString() }))
}
