// Owns how a cluster's backups are summed up: what can be restored, what would be lost now, and
// what is wrong.
import type { Backup, BackupStatus } from '@howdah/core/contract/backups.ts'
import { describeRange, parseLsn, type WalRange } from '@howdah/core/wal.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { type BackupRow, listBackups, listSchedules, toBackup } from '../db/backups.ts'
import { type ClusterRow, listInstances } from '../db/clusters.ts'
import { activeStanza, findRepository } from '../db/repositories.ts'
import { type ArchiveStatus, isOnHistory, parseStatus } from './archive-status.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
/** archive_timeout is a minute, and a look comes every half minute. */
const BEHIND_SECONDS = 180

export async function showBackupStatus(db: Queryable, cluster: ClusterRow): Promise<BackupStatus> {
  const stanza = await activeStanza(db, cluster.id)
  const rows = await listBackups(db, cluster.id)
  const status = parseStatus(stanza?.status)
  const repository =
    stanza === undefined ? undefined : await findRepository(db, stanza.repository_id)
  const proven = rows
    .filter(({ proven_at }) => proven_at !== null)
    .sort((a, b) => Number(b.proven_at) - Number(a.proven_at))[0]
  const newest = rows[0]
  const rpo = clusterRpo(status)
  const base = {
    repository: repository?.name ?? null,
    window: recoverableWindow(rows, status),
    rpo_leader_bytes: await leaderRpo(db, cluster, rpo.bytes),
    rpo_cluster_bytes: rpo.bytes,
    rpo_cluster_seconds: rpo.seconds,
    archive: {
      last_segment: status?.lastSegment ?? null,
      last_at: status?.lastAt ?? null,
      failed_segment: status?.failedSegment ?? null,
      failed_at: status?.failedAt ?? null,
      waiting_segments: status?.waitingSegments ?? 0,
      gaps: (status?.gaps ?? []).map(describeRange),
    },
    repository_bytes: sizes(rows, status, stanza?.created_at),
    newest_backup: newest === undefined ? null : toBackup(newest),
    newest_proven: proven === undefined ? null : toBackup(proven),
    next_runs: (await listSchedules(db, cluster.id)).map(({ kind, next_at }) => ({
      kind,
      at: next_at.toISOString(),
    })),
    checked_at: stanza?.checked_at?.toISOString() ?? null,
  }
  const own = rows.filter(({ repository_id }) => repository_id === stanza?.repository_id)
  return { ...judge(base, status, own), ...base }
}

/** `rows`: backups in the repository that is archived to, the newest first. */
export function judge(
  seen: {
    repository: string | null
    newest_backup: Pick<Backup, 'damage'> | null
    newest_proven: unknown
    rpo_cluster_bytes: number | null
    rpo_cluster_seconds: number | null
  },
  status: ArchiveStatus | undefined,
  rows: readonly BackupRow[],
): Pick<BackupStatus, 'state' | 'message'> {
  if (seen.repository === null) return { state: 'none', message: 'it is not backed up anywhere' }
  if (seen.newest_backup === null) return { state: 'none', message: 'there is no backup yet' }
  if (seen.newest_backup.damage !== '') {
    return {
      state: 'broken',
      message: `the newest backup is damaged: ${seen.newest_backup.damage}`,
    }
  }
  if (isTorn(rows, status)) {
    return { state: 'broken', message: 'WAL is missing in the repository: see gaps' }
  }
  if (status !== undefined && status.error !== '') {
    return { state: 'behind', message: `the repository cannot be looked at: ${status.error}` }
  }
  if (status?.archives === false) {
    const said = 'its host has no pgbackrest, or it has to be restarted'
    return { state: 'behind', message: `the leader does not archive: ${said}` }
  }
  if (status === undefined || seen.rpo_cluster_bytes === null) {
    return { state: 'behind', message: 'it is not known yet what is archived' }
  }
  if (status.isStuck === true || (seen.rpo_cluster_seconds ?? 0) > BEHIND_SECONDS) {
    return { state: 'behind', message: 'WAL is archived late: see what waits, and why' }
  }
  if (seen.newest_proven === null) {
    return { state: 'unproven', message: 'no backup was restored yet: howdah drill restore NAME' }
  }
  return { state: 'ok', message: 'archived, backed up and proven' }
}

/**
 * A gap that the newest full backup lies behind cuts off older moments, and nothing from now on.
 */
function isTorn(rows: readonly BackupRow[], status: ArchiveStatus | undefined): boolean {
  const gap = status?.gaps.at(-1)
  if (gap === undefined) return false
  const full = rows.find((row) => row.type === 'full' && isUsable(row, status))
  return full === undefined || !isAfter(full, gap)
}

const isUsable = (row: BackupRow, status: ArchiveStatus | undefined): boolean =>
  row.damage === '' && isOnHistory(row, status)

/** From the end of the oldest backup after the last gap to the end of the archive. */
function recoverableWindow(
  rows: readonly BackupRow[],
  status: ArchiveStatus | undefined,
): BackupStatus['window'] {
  const gap = status?.gaps.at(-1)
  const usable = rows.filter((row) => isAfter(row, gap) && isUsable(row, status))
  const oldest = usable.at(-1)
  const newest = usable[0]
  if (oldest === undefined || newest === undefined) return null
  const archivedAt = status?.lastAt ?? ''
  const stoppedAt = newest.stopped_at.toISOString()
  return {
    from: oldest.stopped_at.toISOString(),
    to: [archivedAt, stoppedAt].sort().at(-1) as string,
    lsn_from: oldest.info.lsn_stop,
    lsn_to: status?.archivedLsn ?? newest.info.lsn_stop,
  }
}

function isAfter(row: BackupRow, gap: WalRange | undefined): boolean {
  if (gap === undefined) return true
  const start = parseLsn(row.info.lsn_start) ?? 0n
  return start / BigInt(16 * 1024 * 1024) > BigInt(gap.last)
}

/** If the whole cluster and its hosts were gone now. */
function clusterRpo(status: ArchiveStatus | undefined) {
  const present = parseLsn(status?.presentLsn ?? '')
  const archived = parseLsn(status?.archivedLsn ?? '')
  if (status === undefined || present === undefined || archived === undefined) {
    return { bytes: null, seconds: null }
  }
  const bytes = present > archived ? Number(present - archived) : 0
  const sinceMs = status.lastAt === null ? null : Date.now() - Date.parse(status.lastAt)
  if (bytes === 0) return { bytes, seconds: 0 }
  return { bytes, seconds: sinceMs === null ? null : Math.max(0, sinceMs / 1000) }
}

/** If the leader's host were gone now: what its best replica has not received. */
async function leaderRpo(
  db: Queryable,
  cluster: ClusterRow,
  alone: number | null,
): Promise<number | null> {
  const hosts = await hostsById(db)
  const instances = await listInstances(db, cluster.id)
  const leader = leaderOf(hosts, instances)
  const position = leader === undefined ? null : patroniOf(hosts, leader)?.walPosition
  if (leader === undefined || position == null) return null
  const replicas = instances
    .filter(({ id }) => id !== leader.id)
    .flatMap((row) => patroniOf(hosts, row) ?? [])
  if (replicas.length === 0) return alone
  // A commit waits for it: what it has not received was never acknowledged.
  if (replicas.some(({ role }) => role === 'sync-replica')) return 0
  const lags = replicas.map(({ walPosition }) => BigInt(position) - BigInt(walPosition ?? '0'))
  return Math.max(0, Math.min(...lags.map(Number)))
}

function sizes(
  rows: readonly BackupRow[],
  status: ArchiveStatus | undefined,
  since: Date | undefined,
) {
  const backups = rows.reduce((sum, row) => sum + row.info.repository_bytes, 0)
  const archive = status?.archiveBytes ?? 0
  const ageMs = since === undefined ? 0 : Date.now() - since.getTime()
  // A day's growth from less than an hour would be a guess.
  const perDay = ageMs < HOUR_MS ? null : Math.round((archive / ageMs) * DAY_MS)
  return { backups, archive, per_day: perDay }
}
