// Owns the backup, restore_point and schedule tables. The repository is what counts: rows are what
// it said when it was last asked, with what only we know (who made a backup, and whether it was
// proven).
import type { BackupInfo, BackupType, ListedBackup } from '@howdah/core/backup-info.ts'
import type { BackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import type { Backup, RestorePoint } from '@howdah/core/contract/backups.ts'
import { nextRun } from '@howdah/core/cron.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import { isUniqueViolation, type Queryable } from '../database.ts'

export interface BackupRow {
  id: string
  cluster_id: string
  repository_id: string
  /** Its name. */
  repository: string
  label: string
  type: BackupType
  info: BackupInfo
  started_at: Date
  stopped_at: Date
  operation_id: string | null
  proven_at: Date | null
  proven_ms: number | null
  damage: string
}

const COLUMNS = `id, cluster_id, repository_id, label, type, info, started_at, stopped_at,
  operation_id, proven_at, proven_ms, damage,
  (select r.name from repository r where r.id = backup.repository_id) as repository`

export const PAGE_ERRORS = 'pages with a wrong checksum were read when it was taken'

/** The newest first. */
export async function listBackups(db: Queryable, clusterId: string): Promise<BackupRow[]> {
  const { rows } = await db.query<BackupRow>(
    `select ${COLUMNS} from backup where cluster_id = $1 order by stopped_at desc, id desc`,
    [clusterId],
  )
  return rows
}

/** By id or label. */
export async function findBackup(
  db: Queryable,
  clusterId: string,
  reference: string,
): Promise<BackupRow | undefined> {
  const { rows } = await db.query<BackupRow>(
    `select ${COLUMNS} from backup where cluster_id = $1 and (id = $2 or label = $2)`,
    [clusterId, reference],
  )
  return rows[0]
}

/** Makes the rows say what the repository said; returns those that are new. */
export async function syncBackups(
  tx: Queryable,
  stanza: { cluster_id: string; repository_id: string },
  listed: readonly ListedBackup[],
): Promise<ListedBackup[]> {
  await tx.query(
    'delete from backup where cluster_id = $1 and repository_id = $2 and label <> all($3)',
    [stanza.cluster_id, stanza.repository_id, listed.map(({ label }) => label)],
  )
  const added: ListedBackup[] = []
  for (const backup of listed) {
    const { rows } = await tx.query<{ added: boolean }>(
      `insert into backup (id, cluster_id, repository_id, label, type, info, started_at,
         stopped_at, operation_id, damage)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
       on conflict (cluster_id, repository_id, label) do update set info = excluded.info
       returning xmax = 0 as added`,
      [
        newId('backup'),
        stanza.cluster_id,
        stanza.repository_id,
        backup.label,
        backup.type,
        JSON.stringify(backup.info),
        backup.startedAt,
        backup.stoppedAt,
        backup.operationId,
        backup.info.page_errors ? PAGE_ERRORS : '',
      ],
    )
    if (rows[0]?.added === true) added.push(backup)
  }
  return added
}

/** Those that were only damaged because of it are sound again. */
export async function markProven(tx: Queryable, id: string, provenMs: number): Promise<void> {
  await tx.query(
    `update backup b set damage = '' from backup p where p.id = $1
       and (b.cluster_id, b.repository_id) = (p.cluster_id, p.repository_id)
       and b.damage = 'it needs ' || p.label || ', which is damaged'`,
    [id],
  )
  await tx.query("update backup set proven_at = now(), proven_ms = $2, damage = '' where id = $1", [
    id,
    provenMs,
  ])
}

/** A proof that failed takes the earlier one back, and those of backups that need this one. */
export async function markDamaged(tx: Queryable, id: string, damage: string): Promise<void> {
  await tx.query(
    `update backup b set proven_at = null,
       damage = 'it needs ' || p.label || ', which is damaged'
     from backup p where p.id = $1 and b.info->'needs' ? p.label and b.damage = ''
       and (b.cluster_id, b.repository_id) = (p.cluster_id, p.repository_id)`,
    [id],
  )
  await tx.query('update backup set proven_at = null, damage = $2 where id = $1', [
    id,
    damage.slice(0, 1000),
  ])
}

export function toBackup(row: BackupRow): Backup {
  const { operation_id: _, ...shown } = row
  return {
    ...shown,
    started_at: row.started_at.toISOString(),
    stopped_at: row.stopped_at.toISOString(),
    proven_at: row.proven_at?.toISOString() ?? null,
  }
}

interface RestorePointRow {
  name: string
  lsn: string
  at: Date
}

export async function insertRestorePoint(
  tx: Queryable,
  clusterId: string,
  point: { name: string; lsn: string; at: string },
): Promise<void> {
  try {
    await tx.query(
      'insert into restore_point (cluster_id, name, lsn, at) values ($1, $2, $3, $4)',
      [clusterId, point.name, point.lsn, point.at],
    )
  } catch (error) {
    if (!isUniqueViolation(error, 'restore_point_pkey')) throw error
    const said = `there is a restore point ${point.name} already`
    throw new HowdahError('name-taken', said, { cause: error })
  }
}

export async function listRestorePoints(db: Queryable, clusterId: string): Promise<RestorePoint[]> {
  const { rows } = await db.query<RestorePointRow>(
    'select name, lsn, at from restore_point where cluster_id = $1 order by at desc limit 1000',
    [clusterId],
  )
  return rows.map((row) => ({ ...row, at: row.at.toISOString() }))
}

export const SCHEDULE_KINDS = ['full', 'differential', 'incremental', 'drill'] as const
export type ScheduleKind = (typeof SCHEDULE_KINDS)[number]

export interface ScheduleRow {
  cluster_id: string
  kind: ScheduleKind
  cron: string
  next_at: Date
}

/** Rows as the policy wants them; a schedule that stays the same keeps its next run. */
export async function storeSchedules(
  tx: Queryable,
  clusterId: string,
  policy: BackupPolicy,
): Promise<void> {
  for (const kind of SCHEDULE_KINDS) {
    const cron = policy[kind]
    const nextMs = cron === null ? undefined : nextRun(cron, policy.timezone, Date.now())
    if (cron === null || nextMs === undefined) {
      await tx.query('delete from schedule where cluster_id = $1 and kind = $2', [clusterId, kind])
      continue
    }
    const key = `${policy.timezone} ${cron}`
    await tx.query(
      `insert into schedule (cluster_id, kind, cron, next_at) values ($1, $2, $3, $4)
       on conflict (cluster_id, kind) do update set cron = $3,
         next_at = case when schedule.cron = $3 then schedule.next_at else $4 end`,
      [clusterId, kind, key, new Date(nextMs)],
    )
  }
}

/** At the next look instead of the next time. */
export async function runSoon(
  tx: Queryable,
  clusterId: string,
  kind: ScheduleKind,
  inSeconds: number,
): Promise<void> {
  await tx.query(
    `update schedule set next_at = least(next_at, now() + make_interval(secs => $3))
     where cluster_id = $1 and kind = $2`,
    [clusterId, kind, inSeconds],
  )
}

export async function listSchedules(db: Queryable, clusterId: string): Promise<ScheduleRow[]> {
  const { rows } = await db.query<ScheduleRow>(
    'select cluster_id, kind, cron, next_at from schedule where cluster_id = $1 order by next_at',
    [clusterId],
  )
  return rows
}

/**
 * Of clusters that can be backed up now. Locked until the transaction ends: nobody else runs it.
 */
export async function takeDue(tx: Queryable): Promise<ScheduleRow | undefined> {
  const { rows } = await tx.query<ScheduleRow>(
    `select s.cluster_id, s.kind, s.cron, s.next_at from schedule s
     join cluster c on c.id = s.cluster_id
     where s.next_at <= now() and c.state = 'available' and not exists (
       select from operation o where o.cluster_id = s.cluster_id and o.lane = 'backup'
         and o.state in ('pending', 'running'))
     order by s.kind = 'full' desc, s.next_at limit 1 for update of s skip locked`,
  )
  return rows[0]
}

/** The first after that moment; undefined for one that never comes. */
export function runAfter(schedule: Pick<ScheduleRow, 'cron'>, afterMs: number): number | undefined {
  const [zone = 'UTC', ...cron] = schedule.cron.split(' ')
  return nextRun(cron.join(' '), zone, afterMs)
}

export async function setNextRun(tx: Queryable, schedule: ScheduleRow): Promise<void> {
  const nextMs = runAfter(schedule, Date.now()) ?? Date.now() + 86_400_000
  await tx.query('update schedule set next_at = $3 where cluster_id = $1 and kind = $2', [
    schedule.cluster_id,
    schedule.kind,
    new Date(nextMs),
  ])
}
