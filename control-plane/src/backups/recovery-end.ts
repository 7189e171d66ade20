// Owns how far a recovery can go now: what a cluster's leader has written where one answers, what
// was seen in the archive where nobody leads.
import type { ArchivedEnd, RecoveryEnd, WantedTarget } from '@howdah/core/recovery-plan.ts'
import { findLeader, queryLeader } from '../clusters/leader-sql.ts'
import type { Queryable } from '../database.ts'
import { findCluster } from '../db/clusters.ts'
import { activeStanza, findStanzas } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import { type ArchiveStatus, archivedAtOf, parseStatus } from './archive-status.ts'

const PRESENT = `select pg_current_wal_insert_lsn()::text as lsn,
    pg_snapshot_xmax(pg_current_snapshot())::text as xid`

/** Of where it archives, or did last; undefined until somebody has looked. */
export async function statusOf(
  db: Queryable,
  clusterId: string,
): Promise<ArchiveStatus | undefined> {
  const stanza = (await activeStanza(db, clusterId)) ?? (await findStanzas(db, clusterId))[0]
  return parseStatus(stanza?.status)
}

export function archivedEnd(status: ArchiveStatus | undefined): ArchivedEnd {
  return { lsn: status?.archivedLsn ?? null, at: archivedAtOf(status) }
}

/**
 * A leader that is there and does not answer in time hides nothing: the operation asks it again.
 */
export async function recoveryEnd(
  platform: Platform,
  clusterId: string,
  wanted: WantedTarget,
  archived: ArchivedEnd,
): Promise<RecoveryEnd> {
  const unknown = { atMs: Date.now(), lsn: null, xid: null }
  const cluster = await findCluster(platform.database, clusterId)
  // It has archived all that it wrote before it stopped, unless somebody was told otherwise.
  if (cluster === undefined || cluster.state === 'deleted') return unknown
  if ((await findLeader(platform, clusterId)) === undefined) {
    const atMs = archived.at === null ? unknown.atMs : Date.parse(archived.at)
    return { atMs, lsn: archived.lsn, xid: null }
  }
  // Only these name what may not be there yet, and each question costs an agent's round trip.
  const asks = [wanted.lsn, wanted.xid].some((value) => value !== undefined)
  if (!asks) return unknown
  const statement = { text: PRESENT, params: [] }
  const [row] = await queryLeader<{ lsn: string; xid: string }>(platform, cluster, statement).catch(
    () => [],
  )
  return row === undefined ? unknown : { ...unknown, ...row }
}
