// Owns one look at a cluster's archive: what its leader says it has archived, compared with what
// the repository holds. PostgreSQL alone cannot be asked: a program that gave a segment up told it
// that all is well.

import { describeError, HowdahError } from '@howdah/core/errors.ts'
import type { ArchiveInventory, TimelineStart, WalRange } from '@howdah/core/wal.ts'
import {
  archiveIdOf,
  formatLsn,
  missingSegments,
  parseLsn,
  parseSegmentName,
  SEGMENT_BYTES,
  type Segment,
  segmentOf,
} from '@howdah/core/wal.ts'
import { findLeader, type Leader, queryLeader } from '../clusters/leader-sql.ts'
import { listBackups } from '../db/backups.ts'
import type { ClusterRow } from '../db/clusters.ts'
import type { StanzaRow } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import type { SeenStatus } from './archive-news.ts'
import { type ArchiveStatus, isOnHistory } from './archive-status.ts'
import { accessOn, loadStanza, placeOn, runRepositoryTask } from './repository-access.ts'

const LIST_TIMEOUT_MS = 30_000
const GAPS_SHOWN_MAX = 100

const ARCHIVER = `select pg_current_wal_lsn()::text as present,
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer as timeline,
    current_setting('archive_mode') <> 'off' as archives,
    last_archived_wal as last, to_char(last_archived_time at time zone 'UTC',
      'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as last_at,
    last_failed_wal as failed, to_char(last_failed_time at time zone 'UTC',
      'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as failed_at,
    (select count(*)::integer from pg_ls_archive_statusdir() where name like '%.ready') as waiting,
    coalesce(pg_read_file('pg_wal/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
      || '.history', 0, 65536, true), '') as history
  from pg_stat_archiver`

interface ArchiverRow {
  present: string
  timeline: number
  archives: boolean
  last: string | null
  last_at: string | null
  failed: string | null
  failed_at: string | null
  waiting: number
  history: string
}

/**
 * What PostgreSQL says is known even when the repository does not answer: then the rest stays as it
 * was, and `error` says why. Throws when the cluster itself does not answer.
 */
export async function lookAtArchive(
  platform: Platform,
  cluster: ClusterRow,
  stanza: StanzaRow,
  before: ArchiveStatus,
): Promise<SeenStatus> {
  const rows = await queryLeader<ArchiverRow>(platform, cluster, { text: ARCHIVER, params: [] })
  const archiver = rows[0]
  const leader = await findLeader(platform, cluster.id)
  if (archiver === undefined || leader === undefined) {
    throw new HowdahError('cluster-unreachable', 'there is no leader')
  }
  const told = {
    presentLsn: archiver.present,
    timeline: archiver.timeline,
    archives: archiver.archives,
    lastSegment: archiver.last,
    lastAt: archiver.last_at,
    failedSegment: archiver.failed,
    failedAt: archiver.failed_at,
    waitingSegments: archiver.waiting,
  }
  try {
    const inventory = await listSegments(platform, stanza, leader)
    return { ...told, ...(await compare(platform, stanza, archiver, inventory, before)), error: '' }
  } catch (error) {
    return { ...before, ...told, error: describeError(error).slice(0, 1000) }
  }
}

async function listSegments(platform: Platform, stanza: StanzaRow, leader: Leader) {
  const repository = await loadStanza(platform.database, platform.sealer, stanza)
  const { host, instance } = leader
  // A program that cannot connect tries for four times as long as it waits for an answer: with a
  // task's patience the look would take more than the minute within which a gap is told.
  const place = {
    ...placeOn(host, instance.id, instance.postgres_port),
    patience: 'probe' as const,
  }
  return runRepositoryTask<ArchiveInventory>(platform, host.id, LIST_TIMEOUT_MS, undefined, {
    kind: 'list-archive',
    repository: accessOn(repository, place),
    archiveId: archiveIdOf(stanza.postgres_version),
  })
}

/** Timelines with where each left its parent, from a history file: `1\t0/5000000\treason`. */
export function parseHistory(text: string, present: number): TimelineStart[] {
  const parents = text.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/.exec(line)
    return match === null ? [] : [{ parent: Number(match[1]), lsn: parseLsn(match[2] ?? '') ?? 0n }]
  })
  return parents.map(({ lsn }, index) => ({
    timeline: parents[index + 1]?.parent ?? present,
    lsn,
  }))
}

async function compare(
  platform: Platform,
  stanza: StanzaRow,
  archiver: ArchiverRow,
  inventory: ArchiveInventory,
  before: ArchiveStatus,
) {
  const starts = parseHistory(archiver.history, archiver.timeline)
  const history = { starts: starts.map(({ timeline, lsn }) => ({ timeline, lsn: formatLsn(lsn) })) }
  const oldest = (await listBackups(platform.database, stanza.cluster_id))
    .filter(({ repository_id }) => repository_id === stanza.repository_id)
    .filter((backup) => isOnHistory(backup, history))
    .at(-1)?.info
  const to = newestArchived(archiver, starts, inventory.ranges)
  const start = parseLsn(oldest?.lsn_start ?? '')
  // While it is not known how far the archive should go, what was known of it stays.
  const gaps: WalRange[] =
    to === undefined
      ? before.gaps
      : start === undefined || oldest === undefined
        ? []
        : missingSegments(inventory.ranges, {
            from: { timeline: oldest.timeline, number: segmentOf(start) },
            starts,
            to,
          })
  return {
    ...history,
    archivedLsn: to === undefined ? before.archivedLsn : formatLsn(endOf(to)),
    gaps: gaps.slice(-GAPS_SHOWN_MAX),
    archiveBytes: inventory.bytes,
    archiveSegments: inventory.segments,
  }
}

const endOf = ({ number }: Segment): bigint => BigInt(number + 1) * BigInt(SEGMENT_BYTES)

/**
 * How far the archive should go: what the leader says of its own timeline. One that was just made
 * leader says nothing yet: then what is there of that timeline counts, and else everything up to
 * where the timeline began, which the leader before it had to archive.
 */
export function newestArchived(
  { timeline, last }: Pick<ArchiverRow, 'timeline' | 'last'>,
  starts: readonly TimelineStart[],
  ranges: readonly WalRange[],
): Segment | undefined {
  const told = parseSegmentName(last ?? '')
  if (told?.timeline === timeline) return told
  const there = ranges.filter((range) => range.timeline === timeline).map((range) => range.last)
  if (there.length > 0) return { timeline, number: Math.max(...there) }
  const start = starts.find((each) => each.timeline === timeline)
  return start === undefined ? undefined : { timeline, number: segmentOf(start.lsn) - 1 }
}
