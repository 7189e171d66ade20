// Owns what is worth telling of a look at a cluster's archive, compared with the look before: pure,
// so that each way in which WAL gets lost can be tried in microseconds.
import {
  describeRange,
  parseLsn,
  parseSegmentName,
  SEGMENT_BYTES,
  type WalRange,
} from '@howdah/core/wal.ts'
import { type ArchiveStatus, isEmptied } from './archive-status.ts'

export interface ArchiveNews {
  kind: string
  message: string
}

export type SeenStatus = Omit<
  ArchiveStatus,
  'gapsSince' | 'failing' | 'givenUp' | 'stuckSince' | 'isStuck'
>

/** A segment is archived within seconds of its end, and ends after a minute. */
const STUCK_MS = 120_000

/** What PostgreSQL said last was that it could not archive. */
export const isRefused = ({
  failedAt,
  lastAt,
}: Pick<ArchiveStatus, 'failedAt' | 'lastAt'>): boolean =>
  failedAt !== null && (lastAt === null || failedAt > lastAt)

/**
 * Adds what can only be said of a look together with the one before. Archiving fails until somebody
 * has seen that it works: the program that gives WAL up tells PostgreSQL that all is well.
 */
export function continueStatus(
  before: ArchiveStatus,
  seen: SeenStatus,
  now: string,
): ArchiveStatus {
  const isUnseen = seen.error !== ''
  const wasFailing = before.failing ?? false
  const isPast =
    parseSegmentName(seen.lastSegment ?? '') !== undefined &&
    (seen.lastSegment ?? '') > (before.lastSegment ?? '')
  const stuckSince = isWaiting(before, seen) ? (before.stuckSince ?? now) : null
  return {
    ...seen,
    gapsSince: seen.gaps.length === 0 ? null : (before.gapsSince ?? now),
    failing: isRefused({ ...before, ...seen }) || (isUnseen && wasFailing),
    givenUp: isUnseen && ((before.givenUp ?? false) || (wasFailing && isPast)),
    stuckSince,
    isStuck: stuckSince !== null && Date.parse(now) - Date.parse(stuckSince) >= STUCK_MS,
  }
}

/** More than a segment was written since the end of what is archived, which did not move. */
function isWaiting(before: ArchiveStatus, { presentLsn, archivedLsn }: SeenStatus): boolean {
  const present = parseLsn(presentLsn)
  const archived = parseLsn(archivedLsn ?? '')
  if (present === undefined || archived === undefined) return false
  return archivedLsn === before.archivedLsn && present - archived > BigInt(SEGMENT_BYTES)
}

/** One that only grew is no news; one beside those that were known is. */
export function newGaps(before: readonly WalRange[], now: readonly WalRange[]): WalRange[] {
  const touches = (a: WalRange, b: WalRange) =>
    a.timeline === b.timeline && a.first <= b.last + 1 && b.first <= a.last + 1
  return now.filter((gap) => !before.some((known) => touches(known, gap)))
}

export function archiveNews(name: string, before: ArchiveStatus, now: ArchiveStatus) {
  const news: ArchiveNews[] = []
  const tell = (kind: string, message: string) => void news.push({ kind, message })
  const gaps = newGaps(before.gaps, now.gaps)
  if (gaps.length > 0) {
    const said = gaps.map(describeRange).join('; ')
    tell('archive.gap', `WAL of ${name} is missing in its repository: ${said}`)
  }
  if (now.gaps.length === 0 && before.gaps.length > 0) {
    tell('archive.whole', `the archive of ${name} has no gap any more`)
  }
  if (now.failing === true && before.failing !== true) {
    const said = `${now.failedSegment} failed, ${now.waitingSegments} segments wait`
    tell('archive.failing', `WAL of ${name} cannot be archived: ${said}`)
  }
  if (now.givenUp === true && before.givenUp !== true) {
    const said = `it counts as archived up to ${now.lastSegment}, and nobody can see it`
    tell('archive.given-up', `WAL of ${name} was given up, its queue is full: ${said}`)
  }
  if (now.failing !== true && before.failing === true) {
    tell('archive.works', `WAL of ${name} is archived again`)
  }
  if (now.archives === false && before.archives !== false) {
    const said = 'its leader is on a host without pgbackrest, or has to be restarted'
    tell('archive.off', `WAL of ${name} is not archived at all: ${said}`)
  }
  if (now.archives === true && before.archives === false) {
    tell('archive.on', `the leader of ${name} archives again`)
  }
  if (now.isStuck === true && before.isStuck !== true && now.failing !== true) {
    const said = `nothing was for two minutes, ${now.waitingSegments} segments wait`
    tell('archive.behind', `WAL of ${name} is not archived as it is written: ${said}`)
  }
  if (isEmptied(now)) {
    if (!isEmptied(before)) tell('archive.gone', `the repository of ${name}: ${now.error}`)
  } else if (now.error !== '' && before.error === '') {
    tell('archive.unseen', `the archive of ${name} cannot be looked at: ${now.error}`)
  }
  return { news, needsBackup: gaps.length > 0 }
}
