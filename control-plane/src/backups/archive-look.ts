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
  withoutSegment,
} from '@howdah/core/wal.ts'
import { findLeader, type Leader, queryLeader } from '../clusters/leader-sql.ts'
import { listBackups } from '../db/backups.ts'
import type { ClusterRow } from '../db/clusters.ts'
import { listBrokenSegments } from '../db/drills.ts'
import type { StanzaRow } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import {
  afterParts,
  afterWhole,
  type ListingPath,
  planListing,
  WHOLE_SEGMENTS_MAX,
} from './archive-listing.ts'
import type { SeenStatus } from './archive-news.ts'
import { type ArchiveStatus, isOnHistory } from './archive-status.ts'
import { refuseEmptied } from './refuse-emptied.ts'
import {
  accessOn,
  askRepository,
  loadStanza,
  placeOn,
  runRepositoryTask,
} from './repository-access.ts'

const LIST_TIMEOUT_MS = 30_000
/** A year of WAL takes minutes; tried only once a quick look has failed and that was told. */
const WHOLE_LIST_TIMEOUT_MS = 300_000
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
    const place = { platform, stanza, leader }
    return { ...told, ...(await compare(place, archiver, before)), error: '' }
  } catch (error) {
    return { ...before, ...told, error: describeError(error).slice(0, 1000) }
  }
}

interface Place {
  platform: Platform
  stanza: StanzaRow
  leader: Leader
}

/** Else all of it would count as a gap, and a full backup be taken where nothing belongs. */
async function refuseEmptiedAt({ platform, stanza, leader }: Place) {
  const repository = await loadStanza(platform.database, platform.sealer, stanza)
  await refuseEmptied(platform.database, stanza, () => askRepository(platform, repository, leader))
}

/** What the repository holds, as far as it was listed now, or when its turn was. */
async function lookAtSegments(place: Place, before: ArchiveStatus, path: ListingPath) {
  const isLarge = before.archiveSegments === 0 || before.archiveSegments > WHOLE_SEGMENTS_MAX
  const isPatient = isLarge && before.error !== ''
  const list = async (directories?: string[]) => {
    const none = { ranges: [], segments: 0, bytes: 0 }
    return directories?.length === 0 ? none : await listSegments(place, isPatient, directories)
  }
  const plan = planListing(before, path)
  const recent = await list(plan?.recent)
  if (recent.segments === 0) await refuseEmptiedAt(place)
  if (plan === undefined) return { ranges: recent.ranges, known: afterWhole(recent) }
  const { ranges, ...known } = afterParts(before, plan, { recent, next: await list(plan.next) })
  return { ranges, known }
}

async function listSegments(
  { platform, stanza, leader }: Place,
  isPatient: boolean,
  directories?: string[],
) {
  const repository = await loadStanza(platform.database, platform.sealer, stanza)
  const { host, instance } = leader
  // A program that cannot connect tries for four times as long as it waits for an answer: with a
  // task's patience the look would take more than the minute within which a gap is told.
  const at = { ...placeOn(host, instance.id, instance.postgres_port), patience: 'probe' as const }
  const isLong = isPatient && directories === undefined
  const timeoutMs = isLong ? WHOLE_LIST_TIMEOUT_MS : LIST_TIMEOUT_MS
  return runRepositoryTask<ArchiveInventory>(platform, host.id, timeoutMs, undefined, {
    kind: 'list-archive',
    repository: accessOn(repository, at),
    archiveId: archiveIdOf(stanza.postgres_version),
    ...(directories === undefined ? {} : { directories }),
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

async function compare(place: Place, archiver: ArchiverRow, before: ArchiveStatus) {
  const { platform, stanza } = place
  const starts = parseHistory(archiver.history, archiver.timeline)
  const history = { starts: starts.map(({ timeline, lsn }) => ({ timeline, lsn: formatLsn(lsn) })) }
  const oldest = await oldestOn(place, history, archiver.timeline)
  const number = segmentOf(parseLsn(archiver.present) ?? 0n)
  const present = { timeline: archiver.timeline, number }
  const { ranges, known } = await lookAtSegments(place, before, { oldest, starts, present })
  const broken = await listBrokenSegments(platform.database, stanza.cluster_id)
  const to = newestArchived(archiver, starts, ranges)
  // While it is not known how far the archive should go, what was known of it stays.
  const gaps: WalRange[] =
    to === undefined
      ? before.gaps
      : oldest === undefined
        ? []
        : missingSegments(readableOf(ranges, broken), { from: oldest, starts, to })
  // A push that was under way leaves a segment in a place that was emptied meanwhile. Not only for
  // new gaps: what is missing then may begin at one that was known.
  if (gaps.length > 0) await refuseEmptiedAt(place)
  return {
    ...history,
    archivedLsn: to === undefined ? before.archivedLsn : formatLsn(endOf(to)),
    archivedAt: archiver.last_at,
    gaps: gaps.slice(-GAPS_SHOWN_MAX),
    ...known,
  }
}

/** Where the oldest backup of the present history begins; undefined where there is none. */
async function oldestOn(
  { platform, stanza }: Place,
  history: Pick<ArchiveStatus, 'starts'>,
  timeline: number,
): Promise<Segment | undefined> {
  const info = (await listBackups(platform.database, stanza.cluster_id))
    .filter(({ repository_id }) => repository_id === stanza.repository_id)
    // One of a later timeline was taken back by an undo, and the repository could not let it go.
    .filter((backup) => isOnHistory(backup, history) && backup.info.timeline <= timeline)
    .at(-1)?.info
  const start = parseLsn(info?.lsn_start ?? '')
  if (info === undefined || start === undefined) return undefined
  return { timeline: info.timeline, number: segmentOf(start) }
}

/** What a drill could not replay is as good as not there. */
export function readableOf(ranges: readonly WalRange[], broken: readonly string[]): WalRange[] {
  return broken
    .flatMap((name) => parseSegmentName(name) ?? [])
    .reduce<WalRange[]>((rest, segment) => withoutSegment(rest, segment), [...ranges])
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
