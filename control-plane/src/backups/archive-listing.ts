// Decides which directories of an archive a look lists, and keeps what the others held when they
// were listed last. Pure. A year of WAL is half a million objects: a look lists where WAL was
// archived since the one before, where some was missing, and a few more directories, round and
// round, so that each look takes the same time and what was removed anywhere is found.
import {
  type ArchiveInventory,
  directoriesOf,
  directoryOf,
  mergeRanges,
  parseLsn,
  rangeOfDirectory,
  type Segment,
  segmentOf,
  type TimelineStart,
  type WalRange,
  withoutRange,
} from '@howdah/core/wal.ts'
import type { ArchiveListing, ArchiveStatus } from './archive-status.ts'

/** Fewer are listed as a whole: one call is cheaper then. */
export const WHOLE_SEGMENTS_MAX = 2048
/** An archive of a year is gone through in about two hours. */
const ROUND_DIRECTORIES = 8
/** Of those with known gaps, the newest. */
const GAP_DIRECTORIES_MAX = 8
/** More were not archived to for longer than any queue lasts. */
const RECENT_DIRECTORIES_MAX = 32
const RANGES_MAX = 1000

type Before = Pick<
  ArchiveStatus,
  'starts' | 'archivedLsn' | 'gaps' | 'archiveBytes' | 'archiveSegments' | 'listing'
>

/** The present history, from the oldest backup on to where the leader writes. */
export interface ListingPath {
  oldest: Segment | undefined
  starts: readonly TimelineStart[]
  present: Segment
}

export interface ListingPlan {
  known: ArchiveListing
  /** Where news are expected. */
  recent: string[]
  /** Of the round, which comes to recent ones, too. */
  next: string[]
  endsRound: boolean
}

/** Undefined where all has to be listed: it is small, or too little is known of it. */
export function planListing(before: Before, path: ListingPath): ListingPlan | undefined {
  const { listing, archivedLsn, archiveSegments } = before
  const { oldest, starts, present } = path
  const archived = parseLsn(archivedLsn ?? '')
  if (listing === undefined || archived === undefined || oldest === undefined) return undefined
  if (archiveSegments <= WHOLE_SEGMENTS_MAX || !continues(before, starts)) return undefined
  // Of a timeline that was begun since, all; and the last segment that was there, to see it again.
  const begun = starts.slice(before.starts.length).map(({ lsn }) => segmentOf(lsn))
  const first = Math.max(oldest.number, Math.min(segmentOf(archived) - 1, ...begun))
  const whole = directoriesOf({ from: oldest, starts, to: present })
  const gapped = before.gaps.flatMap(({ timeline, first: begin, last }) =>
    [begin, last].map((number) => directoryOf({ timeline, number })),
  )
  const newest = whole.filter((each) => (rangeOfDirectory(each)?.last ?? 0) >= first)
  if (newest.length === 0 || newest.length > RECENT_DIRECTORIES_MAX) return undefined
  const recent = [...new Set([...newest, ...gapped.slice(-GAP_DIRECTORIES_MAX)])]
  const rest = whole.filter((each) => each > listing.after)
  return {
    known: listing,
    recent,
    next: rest.slice(0, ROUND_DIRECTORIES),
    endsRound: rest.length <= ROUND_DIRECTORIES,
  }
}

/** What is archived of another history may lie anywhere. */
function continues(before: Before, starts: readonly TimelineStart[]): boolean {
  return before.starts.every(({ timeline, lsn }, index) => {
    const same = starts[index]
    return same?.timeline === timeline && same.lsn === parseLsn(lsn)
  })
}

type Known = Pick<ArchiveStatus, 'archiveBytes' | 'archiveSegments' | 'listing'>

export function afterWhole({ ranges, bytes, segments }: ArchiveInventory): Known {
  return keep({ ranges, after: '', bytes: 0, segments: 0 }, bytes, segments)
}

/** Sums are those of the last whole round: what was listed in parts adds up only at its end. */
export function afterParts(
  before: Pick<Before, 'archiveBytes' | 'archiveSegments'>,
  { known, recent, next, endsRound }: ListingPlan,
  listed: { recent: ArchiveInventory; next: ArchiveInventory },
): Known & { ranges: WalRange[] } {
  const untouched = [...recent, ...next]
    .flatMap((directory) => rangeOfDirectory(directory) ?? [])
    .reduce(withoutRange, known.ranges)
  const ranges = mergeRanges([...untouched, ...listed.recent.ranges, ...listed.next.ranges])
  const bytes = known.bytes + listed.next.bytes
  const segments = known.segments + listed.next.segments
  if (endsRound) {
    return { ranges, ...keep({ ranges, after: '', bytes: 0, segments: 0 }, bytes, segments) }
  }
  const listing = { ranges, after: next.at(-1) ?? known.after, bytes, segments }
  return { ranges, ...keep(listing, before.archiveBytes, before.archiveSegments) }
}

/** One of more holes is too long to be kept: it is listed as a whole again. */
function keep(listing: ArchiveListing, archiveBytes: number, archiveSegments: number): Known {
  const isKept = listing.ranges.length <= RANGES_MAX && archiveSegments > WHOLE_SEGMENTS_MAX
  return { archiveBytes, archiveSegments, ...(isKept ? { listing } : {}) }
}
