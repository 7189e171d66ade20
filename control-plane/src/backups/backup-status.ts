// Owns how a cluster's backups are summed up: what can be restored, what would be lost now, and
// what is wrong.
import type { Backup, BackupStatus } from '@howdah/core/contract/backups.ts'
import { describeRange, parseLsn, type WalRange } from '@howdah/core/wal.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  type BackupRow,
  listBackups,
  listSchedules,
  runAfter,
  type ScheduleRow,
  toBackup,
} from '../db/backups.ts'
import { type ClusterRow, listInstances } from '../db/clusters.ts'
import { lastEnded } from '../db/operations.ts'
import { activeStanza, findRepository } from '../db/repositories.ts'
import {
  type ArchiveStatus,
  archivedAtOf,
  isEmptied,
  isOnHistory,
  parseStatus,
} from './archive-status.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
/** archive_timeout is a minute, and a look comes every half minute. */
const BEHIND_SECONDS = 180
/** However often drills are: one that fails at night is looked at by day. */
const PROOF_MS_MIN = 2 * DAY_MS
const FAILURE_CHARACTERS_MAX = 300

/** Of the newest restore that succeeded. */
export interface Proof {
  atMs: number
  /** It counts until then; null where no drill is scheduled, so that none was promised. */
  endMs: number | null
}

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
  const own = rows.filter(({ repository_id }) => repository_id === stanza?.repository_id)
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
    repository_bytes: {
      backups: rows.reduce((sum, row) => sum + row.info.repository_bytes, 0),
      archive: status?.archiveBytes ?? 0,
      per_day: growthPerDay(own, status, Date.now()),
    },
    newest_backup: newest === undefined ? null : toBackup(newest),
    newest_proven: proven === undefined ? null : toBackup(proven),
    next_runs: (await listSchedules(db, cluster.id)).map(({ kind, next_at }) => ({
      kind,
      at: next_at.toISOString(),
    })),
    checked_at: stanza?.checked_at?.toISOString() ?? null,
  }
  const proof = await proofOf(db, cluster.id, proven?.proven_at ?? null)
  return { ...judge({ ...base, ...proof }, status, own), ...base }
}

async function proofOf(db: Queryable, clusterId: string, provenAt: Date | null) {
  const drill = (await listSchedules(db, clusterId)).find(({ kind }) => kind === 'drill')
  const last = await lastEnded(db, clusterId, 'restore-drill')
  const isNewer = Number(last?.ended_at) > Number(provenAt)
  const failure = last?.state === 'failed' && isNewer ? (last.error?.detail ?? '') : ''
  const atMs = provenAt?.getTime()
  const proof = atMs === undefined ? null : { atMs, endMs: proofEnd(atMs, drill) }
  return { proof, drillFailure: failure.slice(0, FAILURE_CHARACTERS_MAX) }
}

/** When the second drill after it would have to be done. */
export function proofEnd(atMs: number, drill: Pick<ScheduleRow, 'cron'> | undefined) {
  if (drill === undefined) return null
  const second = runAfter(drill, runAfter(drill, atMs) ?? atMs) ?? atMs
  return Math.max(second, atMs + PROOF_MS_MIN)
}

/** `rows`: backups in the repository that is archived to, the newest first. */
export function judge(
  seen: {
    repository: string | null
    newest_backup: Pick<Backup, 'damage'> | null
    proof: Proof | null
    /** Why the last drill failed, where it is newer than the proof; empty where it did not. */
    drillFailure: string
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
  if (status !== undefined && isEmptied(status)) return { state: 'broken', message: status.error }
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
  const failed = seen.drillFailure === '' ? '' : `; the last drill failed: ${seen.drillFailure}`
  const { state, message } = judgeProof(seen.proof, Date.now())
  return { state, message: message + failed }
}

function judgeProof(proof: Proof | null, nowMs: number): Pick<BackupStatus, 'state' | 'message'> {
  if (proof === null) {
    return { state: 'unproven', message: 'no backup was restored yet: howdah drill restore NAME' }
  }
  const hours = Math.floor((nowMs - proof.atMs) / HOUR_MS)
  const age = hours < 48 ? `${hours} hours` : `${Math.floor(hours / 24)} days`
  if (proof.endMs === null) {
    const said = `proven ${age} ago; no drill is scheduled`
    return { state: 'ok', message: `archived, backed up and ${said}` }
  }
  if (nowMs > proof.endMs) {
    const said = `no backup was restored for ${age}: howdah drill restore NAME`
    return { state: 'unproven', message: said }
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
export function recoverableWindow(
  rows: readonly BackupRow[],
  status: ArchiveStatus | undefined,
): BackupStatus['window'] {
  const gap = status?.gaps.at(-1)
  const usable = rows.filter((row) => isAfter(row, gap) && isUsable(row, status))
  const oldest = usable.at(-1)
  const newest = usable[0]
  if (oldest === undefined || newest === undefined) return null
  const archivedAt = archivedAtOf(status) ?? ''
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
export function clusterRpo(status: ArchiveStatus | undefined) {
  const present = parseLsn(status?.presentLsn ?? '')
  const archived = parseLsn(status?.archivedLsn ?? '')
  if (status === undefined || present === undefined || archived === undefined) {
    return { bytes: null, seconds: null }
  }
  const bytes = present > archived ? Number(present - archived) : 0
  const at = archivedAtOf(status)
  const sinceMs = at === null ? null : Date.now() - Date.parse(at)
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

/**
 * WAL that the repository holds, by the time that it is of: it is kept from the oldest backup on.
 * Null before there has been an hour of it: a day's growth from less would be a guess.
 */
export function growthPerDay(
  rows: readonly Pick<BackupRow, 'started_at'>[],
  status: Pick<ArchiveStatus, 'archiveBytes'> | undefined,
  nowMs: number,
): number | null {
  const spanMs = nowMs - Math.min(...rows.map(({ started_at }) => started_at.getTime()))
  if (status === undefined || rows.length === 0 || spanMs < HOUR_MS) return null
  return Math.round((status.archiveBytes / spanMs) * DAY_MS)
}
