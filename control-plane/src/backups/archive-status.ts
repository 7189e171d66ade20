// Owns what the archive check stores about a cluster: what PostgreSQL says it has archived, and
// what the repository was seen to hold.
import { parseLsn, WalRange } from '@howdah/core/wal.ts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'

const Text = Type.Union([Type.String(), Type.Null()])

export const ArchiveStatus = Type.Object({
  /** Where the leader writes, and its timeline. */
  presentLsn: Type.String(),
  timeline: Type.Integer(),
  /** Where each timeline of the present history left its parent. */
  starts: Type.Array(Type.Object({ timeline: Type.Integer(), lsn: Type.String() })),
  /** The end of the last segment that the repository holds without a gap before it. */
  archivedLsn: Text,
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

export function parseStatus(value: unknown): ArchiveStatus | undefined {
  return Value.Check(ArchiveStatus, value) ? value : undefined
}

/**
 * Whether a backup lies on the history of the present timeline: after a restore in place, what was
 * taken later on the timeline that was left does not.
 */
export function isOnHistory(
  backup: { info: { timeline: number; lsn_stop: string } },
  status: Pick<ArchiveStatus, 'starts'> | undefined,
): boolean {
  const next = status?.starts
    .filter(({ timeline }) => timeline > backup.info.timeline)
    .sort((a, b) => a.timeline - b.timeline)[0]
  if (next === undefined) return true
  return (parseLsn(backup.info.lsn_stop) ?? 0n) <= (parseLsn(next.lsn) ?? 0n)
}
