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
  const last = history.split('\n').findLast((line) => /^\s*\d+\s/.test(line))
  return last?.split('\t')[2]?.trim() ?? ''
}

export function rangesOf(segments: readonly Segment[]): WalRange[] {
  const sorted = [...segments].sort((a, b) => a.timeline - b.timeline || a.number - b.number)
  const ranges: WalRange[] = []
  for (const { timeline, number } of sorted) {
    const open = ranges.at(-1)
    if (open?.timeline === timeline && number <= open.last + 1) open.last = number
    else ranges.push({ timeline, first: number, last: number })
  }
  return ranges
}

/** Where a timeline left its parent. */
export interface TimelineStart {
  timeline: number
  lsn: bigint
}

/**
 * What an archive must hold to replay from `from` to the segment before the one that is written
 * now, along the history of the present timeline, and does not. A timeline ends in the segment in
 * which its child begins: that segment is archived by the child.
 */
export function missingSegments(
  inventory: readonly WalRange[],
  path: { from: Segment; starts: readonly TimelineStart[]; to: Segment },
): WalRange[] {
  const missing: Segment[] = []
  for (let number = path.from.number; number <= path.to.number; number += 1) {
    const timeline = timelineAt(number, path.from.timeline, path.starts)
    const held = inventory.some(
      (range) => range.timeline === timeline && range.first <= number && number <= range.last,
    )
    if (!held) missing.push({ timeline, number })
    if (missing.length >= MISSING_COUNT_MAX) break
  }
  return rangesOf(missing)
}

/** A hole this large is told as what it is; nobody counts on. */
const MISSING_COUNT_MAX = 10_000

function timelineAt(number: number, first: number, starts: readonly TimelineStart[]): number {
  return starts
    .filter((start) => segmentOf(start.lsn) <= number)
    .reduce((newest, start) => Math.max(newest, start.timeline), first)
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
