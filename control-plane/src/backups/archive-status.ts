// Owns what the archive check stores about a cluster: what PostgreSQL says it has archived, and
// what the repository was seen to hold.
import { parseLsn, SEGMENT_BYTES, segmentOf, WalRange } from '@howdah/core/wal.ts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'

const Text = Type.Union([Type.String(), Type.Null()])

/** What is known of an archive that is listed in parts. */
export const ArchiveListing = Type.Object({
  ranges: Type.Array(WalRange),
  /** The last directory of this round; empty before the first. */
  after: Type.String(),
  /** What this round has seen so far. */
  bytes: Type.Integer(),
  segments: Type.Integer(),
})
export type ArchiveListing = Static<typeof ArchiveListing>

export const ArchiveStatus = Type.Object({
  /** Where the leader writes, and its timeline. */
  presentLsn: Type.String(),
  timeline: Type.Integer(),
  /** Where each timeline of the present history left its parent. */
  starts: Type.Array(Type.Object({ timeline: Type.Integer(), lsn: Type.String() })),
  /** The end of the last segment that the repository holds without a gap before it. */
  archivedLsn: Text,
  /** When that was archived, as far as somebody could look; before, `lastAt` counts. */
  archivedAt: Type.Optional(Text),
  lastSegment: Text,
  lastAt: Text,
  failedSegment: Text,
  failedAt: Text,
  waitingSegments: Type.Integer(),
  gaps: Type.Array(WalRange),
  /** When gaps were first seen; null while there is none. */
  gapsSince: Text,
  archiveBytes: Type.Integer(),
  archiveSegments: Type.Integer(),
  /** Set where it is too large to be listed as a whole each time. */
  listing: Type.Optional(ArchiveListing),
  /** Why the last look failed; empty when it did not. */
  error: Type.String(),
  /** Until somebody saw that it works; what an earlier version stored does not say. */
  failing: Type.Optional(Type.Boolean()),
  /** WAL counts as archived although nobody could look since archiving failed. */
  givenUp: Type.Optional(Type.Boolean()),
  /** Whether the leader archives at all; its host may not be able to. */
  archives: Type.Optional(Type.Boolean()),
  /** Since when more than a segment waits and none was archived; null while that is not so. */
  stuckSince: Type.Optional(Text),
  /** That has lasted. */
  isStuck: Type.Optional(Type.Boolean()),
})
export type ArchiveStatus = Static<typeof ArchiveStatus>

/** Before the first look. */
export const NOTHING_SEEN: ArchiveStatus = {
  presentLsn: '0/0',
  timeline: 1,
  starts: [],
  archivedLsn: null,
  archivedAt: null,
  lastSegment: null,
  lastAt: null,
  failedSegment: null,
  failedAt: null,
  waitingSegments: 0,
  gaps: [],
  gapsSince: null,
  archiveBytes: 0,
  archiveSegments: 0,
  error: '',
}

/** What an error begins with where backups are known and their place has nothing any more. */
export const EMPTIED = 'nothing is left of the backups that were there'

export const isEmptied = ({ error }: Pick<ArchiveStatus, 'error'>): boolean =>
  error.startsWith(EMPTIED)

/** PostgreSQL alone is not believed: it counts as archived what was given up. */
export const archivedAtOf = (status: ArchiveStatus | undefined): string | null =>
  (status?.archivedAt === undefined ? status?.lastAt : status.archivedAt) ?? null

export function parseStatus(value: unknown): ArchiveStatus | undefined {
  return Value.Check(ArchiveStatus, value) ? value : undefined
}

/** On which every cluster begins, or the one that it was forked from. */
const FIRST_TIMELINE = 1

/**
 * Whether a backup lies on the history of the present timeline: after a restore in place, what was
 * taken later on the timeline that was left does not. A restore to before an earlier one leaves
 * timelines earlier than they were left then.
 */
export function isOnHistory(
  backup: { info: { timeline: number; lsn_stop: string } },
  status: Pick<ArchiveStatus, 'starts'> | undefined,
): boolean {
  const { timeline, lsn_stop } = backup.info
  const starts = status?.starts ?? []
  const later = starts.filter((start) => start.timeline > timeline)
  if (later.length === 0) return true
  const isPart = timeline === FIRST_TIMELINE || starts.some((start) => start.timeline === timeline)
  const stop = parseLsn(lsn_stop) ?? 0n
  return isPart && later.every(({ lsn }) => stop <= (parseLsn(lsn) ?? 0n))
}

/**
 * Whether the archive held, from that backup on, all that was written when somebody last looked.
 * The segment that was not full then is archived when the instance stops.
 */
export function isWhole(
  status: ArchiveStatus | undefined,
  backup: { info: { lsn_start: string } },
): boolean {
  if (status === undefined || status.error !== '' || status.archives === false) return false
  if (status.failing === true || status.givenUp === true) return false
  const present = parseLsn(status.presentLsn)
  const archived = parseLsn(status.archivedLsn ?? '')
  if (present === undefined || archived === undefined) return false
  const first = segmentOf(parseLsn(backup.info.lsn_start) ?? 0n)
  const isUpToDate = present - archived <= BigInt(SEGMENT_BYTES)
  return isUpToDate && !status.gaps.some(({ last }) => last >= first)
}
