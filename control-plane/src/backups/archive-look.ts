// Owns one look at a cluster's archive: what its leader says it has archived, compared with what
// the repository holds. PostgreSQL alone cannot be asked: a program that gave a segment up told it
// that all is well.

import { HowdahError } from '@howdah/core/errors.ts'
import type { ArchiveInventory, TimelineStart, WalRange } from '@howdah/core/wal.ts'
import {
  formatLsn,
  missingSegments,
  parseLsn,
  parseSegmentName,
  SEGMENT_BYTES,
  type Segment,
  segmentOf,
} from '@howdah/core/wal.ts'
import { findLeader, queryLeader } from '../clusters/leader-sql.ts'
import { listBackups } from '../db/backups.ts'
import type { ClusterRow } from '../db/clusters.ts'
import type { StanzaRow } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import { type ArchiveStatus, isOnHistory } from './archive-status.ts'
import { accessOn, loadStanza, placeOn, runRepositoryTask } from './repository-access.ts'

const LIST_TIMEOUT_MS = 30_000

const ARCHIVER = `select pg_current_wal_lsn()::text as present,
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer as timeline,
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
  last: string | null
  last_at: string | null
  failed: string | null
  failed_at: string | null
  waiting: number
  history: string
}

/** Throws what keeps it from looking. */
export async function lookAtArchive(
  platform: Platform,
  cluster: ClusterRow,
  stanza: StanzaRow,
): Promise<Omit<ArchiveStatus, 'gapsSince' | 'error'>> {
  const rows = await queryLeader<ArchiverRow>(platform, cluster, { text: ARCHIVER, params: [] })
  const archiver = rows[0]
  const leader = await findLeader(platform, cluster.id)
  if (archiver === undefined || leader === undefined) {
    throw new HowdahError('cluster-unreachable', 'there is no leader')
  }
  const repository = await loadStanza(platform.database, platform.sealer, stanza)
  const { host, instance } = leader
  const inventory = await runRepositoryTask<ArchiveInventory>(
    platform,
    host.id,
    LIST_TIMEOUT_MS,
    undefined,
    {
      kind: 'list-archive',
      repository: accessOn(repository, placeOn(host, instance.id, instance.postgres_port)),
    },
  )
  const backups = await listBackups(platform.database, cluster.id)
  const oldest = backups
    .filter(({ repository_id }) => repository_id === stanza.repository_id)
    .at(-1)
  return compare(archiver, inventory, oldest?.info)
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

function compare(
  archiver: ArchiverRow,
  inventory: ArchiveInventory,
  oldest: { lsn_start: string; timeline: number } | undefined,
) {
  const to = newestArchived(archiver, inventory.ranges)
  const start = parseLsn(oldest?.lsn_start ?? '')
  const starts = parseHistory(archiver.history, archiver.timeline)
  const gaps: WalRange[] =
    to === undefined || start === undefined || oldest === undefined
      ? []
      : missingSegments(inventory.ranges, {
          from: { timeline: oldest.timeline, number: segmentOf(start) },
          starts,
          to,
        })
  const firstGap = gaps.at(-1)
  const end = to === undefined ? null : endOf(to)
  return {
    presentLsn: archiver.present,
    timeline: archiver.timeline,
    starts: starts.map(({ timeline, lsn }) => ({ timeline, lsn: formatLsn(lsn) })),
    archivedLsn: end === null ? null : formatLsn(end),
    lastSegment: archiver.last,
    lastAt: archiver.last_at,
    failedSegment: archiver.failed,
    failedAt: archiver.failed_at,
    waitingSegments: archiver.waiting,
    gaps: firstGap === undefined ? [] : gaps.slice(-100),
    archiveBytes: inventory.bytes,
    archiveSegments: inventory.segments,
  }
}

const endOf = ({ number }: Segment): bigint => BigInt(number + 1) * BigInt(SEGMENT_BYTES)

/** What PostgreSQL believes, or what is there, whichever is later. */
function newestArchived(archiver: ArchiverRow, ranges: readonly WalRange[]): Segment | undefined {
  const told = parseSegmentName(archiver.last ?? '')
  const there = ranges
    .filter((range) => range.timeline === archiver.timeline)
    .map((range) => ({ timeline: range.timeline, number: range.last }))
  const all = [...there, ...(told === undefined ? [] : [told])]
  return all.sort((a, b) => b.number - a.number)[0]
}
