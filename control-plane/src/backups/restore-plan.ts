// Owns what a plan of a restore says to people: how much is fetched and replayed, and how long that
// took before.
import type { RestorePlan } from '@howdah/core/contract/backups.ts'
import type { RecoveryPlan } from '@howdah/core/recovery-plan.ts'
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
  const archived = status?.archivedLsn ?? null
  const to = target.kind === 'lsn' ? target.value : archived
  const segments = to === null ? 0 : segmentsBetween(backup.info.lsn_start, to)
  return {
    backup: backup.label,
    repository: repository?.name ?? '',
    target: plan.said,
    wal_from: backup.info.lsn_start,
    wal_to: target.kind === 'immediate' ? backup.info.lsn_stop : to,
    wal_segments: target.kind === 'immediate' ? 1 : segments,
    size_bytes: backup.info.size_bytes,
    estimated_ms: estimate(await listBackups(db, clusterId), backup),
    accuracy: plan.accuracy,
  }
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
