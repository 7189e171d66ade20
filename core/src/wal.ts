// Owns the arithmetic of WAL: LSNs, names of segments, and which stretches of segments an archive
// holds. Pure: agents use it to sum an archive up, the control plane to find what is missing.
import { type Static, Type } from 'typebox'

/** The platform never changes initdb's default. */
export const SEGMENT_BYTES = 16 * 1024 * 1024
const SEGMENTS_PER_LOG = 256n

/** A stretch of segments without a hole, both ends included; numbers count segments from zero. */
export const WalRange = Type.Object({
  timeline: Type.Integer({ minimum: 1 }),
  first: Type.Integer({ minimum: 0 }),
  last: Type.Integer({ minimum: 0 }),
})
export type WalRange = Static<typeof WalRange>

export const ArchiveInventory = Type.Object({
  ranges: Type.Array(WalRange, { maxItems: 5000 }),
  /** Timelines whose history file is there; agents of an earlier version do not say. */
  histories: Type.Optional(Type.Array(Type.Integer({ minimum: 2 }), { maxItems: 5000 })),
  segments: Type.Integer({ minimum: 0 }),
  bytes: Type.Integer({ minimum: 0 }),
})
export type ArchiveInventory = Static<typeof ArchiveInventory>

/** `16/B374D848` as bytes; undefined for anything else. */
export function parseLsn(text: string): bigint | undefined {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text)
  if (match === null) return undefined
  return (BigInt(`0x${match[1]}`) << 32n) + BigInt(`0x${match[2]}`)
}

export function formatLsn(lsn: bigint): string {
  const high = (lsn >> 32n).toString(16).toUpperCase()
  return `${high}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}

/** Which segment holds this byte. */
export function segmentOf(lsn: bigint): number {
  return Number(lsn / BigInt(SEGMENT_BYTES))
}

export interface Segment {
  timeline: number
  number: number
}

/** Of a full segment: history, partial and backup files are none. */
export function parseSegmentName(name: string): Segment | undefined {
  const match = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/.exec(name)
  if (match === null) return undefined
  const log = BigInt(`0x${match[2]}`)
  const number = Number(log * SEGMENTS_PER_LOG + BigInt(`0x${match[3]}`))
  return { timeline: Number.parseInt(match[1] as string, 16), number }
}

export function formatSegmentName({ timeline, number }: Segment): string {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, '0')
  return hex(timeline) + hex(Math.floor(number / 256)) + hex(number % 256)
}

/** Of `00000002.history`; undefined for anything else. */
export function parseHistoryName(name: string): number | undefined {
  const match = /^([0-9A-F]{8})\.history$/.exec(name)
  return match === null ? undefined : Number.parseInt(match[1] as string, 16)
}

/**
 * Files of `pg_wal` that a recovery without an archiver has made and that must be archived: the
 * history of its timeline, without which nobody finds that timeline, and its full segments. What is
 * written at `lsn` is not full yet.
 */
export function unarchivedFiles(names: readonly string[], timeline: number, lsn: bigint): string[] {
  return names.filter((name) => {
    if (parseHistoryName(name) === timeline) return true
    const segment = parseSegmentName(name)
    return segment?.timeline === timeline && segment.number < segmentOf(lsn)
  })
}

/**
 * Why a timeline left its parent, from its history file: `before 2026-…`, `at restore point "x"`,
 * `no recovery target specified`. Empty for the first, which has no file.
 */
export function reasonOf(history: string): string {
  return branchesOf(history).at(-1)?.reason ?? ''
}

/**
 * Where replay ended before a timeline began, from its history file, and the timeline whose segment
 * was being read there: the newest that had begun in it. PostgreSQL writes its parent as the newest
 * of all, also where replay ended long before that one. Undefined where it has no file.
 */
export function leftAt(history: string): { timeline: number; lsn: string } | undefined {
  const branches = branchesOf(history)
  const end = branches.at(-1)
  if (end === undefined) return undefined
  const hasBegun = ({ lsn }: Branch) => segmentOf(lsn) <= segmentOf(end.lsn)
  const { timeline } = branches[branches.slice(0, -1).filter(hasBegun).length] ?? end
  return { timeline, lsn: formatLsn(end.lsn) }
}

interface Branch {
  /** The one that was left. */
  timeline: number
  lsn: bigint
  reason: string
}

/** In the order in which they were left. */
function branchesOf(history: string): Branch[] {
  return history.split('\n').flatMap((line) => {
    const [, timeline, at = '', reason = ''] = /^\s*(\d{1,10})\s+(\S+)\s*(.*)$/.exec(line) ?? []
    const lsn = parseLsn(at)
    return lsn === undefined ? [] : [{ timeline: Number(timeline), lsn, reason: reason.trim() }]
  })
}

export function rangesOf(segments: readonly Segment[]): WalRange[] {
  return mergeRanges(segments.map(({ timeline, number: each }) => rangeOf(timeline, each, each)))
}

const rangeOf = (timeline: number, first: number, last: number) => ({ timeline, first, last })

/** In order, and none beside another; they may overlap. */
export function mergeRanges(ranges: readonly WalRange[]): WalRange[] {
  const merged: WalRange[] = []
  for (const { timeline, first, last } of [...ranges].sort(inOrder)) {
    const open = merged.at(-1)
    if (open?.timeline === timeline && first <= open.last + 1) open.last = Math.max(open.last, last)
    else merged.push({ timeline, first, last })
  }
  return merged
}

const inOrder = (a: WalRange, b: WalRange) => a.timeline - b.timeline || a.first - b.first

export function withoutSegment(ranges: readonly WalRange[], segment: Segment): WalRange[] {
  return withoutRange(ranges, rangeOf(segment.timeline, segment.number, segment.number))
}

export function withoutRange(ranges: readonly WalRange[], gone: WalRange): WalRange[] {
  return ranges.flatMap((range) => {
    const { timeline, first, last } = range
    if (timeline !== gone.timeline || gone.last < first || last < gone.first) return [range]
    const parts = [rangeOf(timeline, first, gone.first - 1), rangeOf(timeline, gone.last + 1, last)]
    return parts.filter((part) => part.first <= part.last)
  })
}

/** Where a timeline left its parent. */
export interface TimelineStart {
  timeline: number
  lsn: bigint
}

/** From one segment to another, both included, along the history of the present timeline. */
export interface WalPath {
  from: Segment
  starts: readonly TimelineStart[]
  to: Segment
}

/**
 * What an archive must hold to replay from `from` to the segment before the one that is written
 * now, along the history of the present timeline, and does not. A timeline ends in the segment in
 * which its child begins: that segment is archived by the child.
 */
export function missingSegments(inventory: readonly WalRange[], path: WalPath): WalRange[] {
  const missing = stretchesOf(path).flatMap((stretch) =>
    inventory.reduce<WalRange[]>((rest, held) => withoutRange(rest, held), [stretch]),
  )
  let left = MISSING_COUNT_MAX
  return missing.flatMap(({ timeline, first, last }) => {
    const end = Math.min(last, first + left - 1)
    left -= Math.max(0, end - first + 1)
    return first <= end ? [rangeOf(timeline, first, end)] : []
  })
}

/** A hole this large is told as what it is; nobody counts on. */
const MISSING_COUNT_MAX = 10_000

/** One for each timeline that the path is on. */
function stretchesOf({ from, starts, to }: WalPath): WalRange[] {
  const turns = starts.map(({ lsn }) => segmentOf(lsn)).filter((number) => number > from.number)
  const cuts = [...new Set([from.number, ...turns])].sort((a, b) => a - b)
  return mergeRanges(
    cuts.flatMap((first, index) => {
      const last = Math.min(to.number, (cuts[index + 1] ?? Number.POSITIVE_INFINITY) - 1)
      return first <= last ? [rangeOf(timelineAt(first, from.timeline, starts), first, last)] : []
    }),
  )
}

function timelineAt(number: number, first: number, starts: readonly TimelineStart[]): number {
  return starts
    .filter((start) => segmentOf(start.lsn) <= number)
    .reduce((newest, start) => Math.max(newest, start.timeline), first)
}

/** An archive keeps 256 segments of a timeline in a directory: `0000000100000003`, in order. */
export function directoriesOf(path: WalPath): string[] {
  return stretchesOf(path).flatMap(({ timeline, first, last }) => {
    const logs = Array.from(
      { length: logOf(last) - logOf(first) + 1 },
      (_, index) => logOf(first) + index,
    )
    return logs.map((log) => directoryOf({ timeline, number: log * Number(SEGMENTS_PER_LOG) }))
  })
}

const logOf = (number: number): number => Math.floor(number / Number(SEGMENTS_PER_LOG))

export const directoryOf = (segment: Segment): string => formatSegmentName(segment).slice(0, 16)

/** All that a directory may hold. */
export function rangeOfDirectory(directory: string): WalRange | undefined {
  const first = parseSegmentName(`${directory}00000000`)
  if (first === undefined) return undefined
  return rangeOf(first.timeline, first.number, first.number + Number(SEGMENTS_PER_LOG) - 1)
}

/** `000000010000000000000003` or `…03 to …07 (5 segments)`. */
export function describeRange(range: WalRange): string {
  const { timeline, first, last } = range
  const name = (number: number) => formatSegmentName({ timeline, number })
  if (first === last) return name(first)
  return `${name(first)} to ${name(last)} (${last - first + 1} segments)`
}

/** The repository's directory for a PostgreSQL major; it counts on when a cluster is upgraded. */
export function archiveIdOf(postgresVersion: string): string {
  return `${postgresVersion}-1`
}
