// Owns what a plan of a restore says to people: how much is fetched and replayed, and how long that
// took before.
import type { BackupInfo } from '@howdah/core/backup-info.ts'
import type { RestorePlan } from '@howdah/core/contract/backups.ts'
import type { RecoveryPlan, RecoveryTarget } from '@howdah/core/recovery-plan.ts'
import { parseLsn, segmentOf } from '@howdah/core/wal.ts'
import type { Queryable } from '../database.ts'
import { type BackupRow, listBackups } from '../db/backups.ts'
import { activeStanza, findRepository } from '../db/repositories.ts'
import { parseStatus } from './archive-status.ts'

export async function describePlan(
  db: Queryable,
  clusterId: string,
  plan: RecoveryPlan<BackupRow>,
): Promise<RestorePlan> {
  const { backup, target } = plan
  const repository = await findRepository(db, backup.repository_id)
  const status = parseStatus((await activeStanza(db, clusterId))?.status)
  const span = spanOf(backup.info, target, status?.archivedLsn ?? null)
  return {
    backup: backup.label,
    repository: repository?.name ?? '',
    target: plan.said,
    wal_from: backup.info.lsn_start,
    wal_to: span.to,
    wal_segments: span.segments,
    size_bytes: backup.info.size_bytes,
    estimated_ms: estimate(await listBackups(db, clusterId), backup),
    accuracy: plan.accuracy,
  }
}

/**
 * Pure: how far WAL is replayed at most. Never less than the backup needs for itself: what is said
 * of the archive may be older than the backup.
 */
export function spanOf(
  { lsn_start: from, lsn_stop: stop }: Pick<BackupInfo, 'lsn_start' | 'lsn_stop'>,
  target: RecoveryTarget,
  archived: string | null,
): { to: string | null; segments: number } {
  if (target.kind === 'immediate') return { to: stop, segments: segmentsBetween(from, stop) }
  const end = target.kind === 'lsn' ? target.value : archived
  if (end === null) return { to: null, segments: 0 }
  const to = (parseLsn(end) ?? 0n) < (parseLsn(stop) ?? 0n) ? stop : end
  return { to, segments: segmentsBetween(from, to) }
}

function segmentsBetween(from: string, to: string): number {
  const [first, last] = [parseLsn(from) ?? 0n, parseLsn(to) ?? 0n]
  return Math.max(1, segmentOf(last) - segmentOf(first) + 1)
}

/** From the newest proof of this cluster, in proportion to the size. */
function estimate(backups: readonly BackupRow[], wanted: BackupRow): number | null {
  const proven = backups.find(({ proven_ms }) => proven_ms !== null)
  if (proven?.proven_ms == null || proven.info.size_bytes === 0) return null
  return Math.round((proven.proven_ms * wanted.info.size_bytes) / proven.info.size_bytes)
}
