// Owns how a change of leader is told: from what agents reported of it, one record with its timings
// and its loss receipt. Pure, so that each shape of a failover is a test.
import type { Durability, Failover } from './contract/clusters.ts'
import type { GuardEvent } from './protocol.ts'

/**
 * Events of one change that do not say which timeline it began lie this close together; hosts'
 * clocks may differ by some of it.
 */
const SAME_CHANGE_MS = 120_000

function distanceMs(event: GuardEvent, other: GuardEvent): number {
  return Math.abs(Date.parse(event.at) - Date.parse(other.at))
}

/**
 * The changes of leader, the newest first. `events` in any order; `durability` is for those that do
 * not say what it was then.
 */
export function summarizeFailovers(
  events: readonly GuardEvent[],
  durability: Durability,
): Failover[] {
  const changes: GuardEvent[][] = []
  for (const report of ofKind(events, 'leader-changed').sort(byTime)) {
    const known = changes.findLast((reports) => isOfChange(report, reports))
    if (known === undefined) changes.push([report])
    else known.push(report)
  }
  const firsts = changes.flatMap(([first]) => first ?? [])
  return changes
    .map((reports) => toFailover(reports, firsts, events, durability))
    .sort((a, b) => Date.parse(b.at) - Date.parse(a.at))
}

const byTime = (a: GuardEvent, b: GuardEvent) => Date.parse(a.at) - Date.parse(b.at)

function ofKind(events: readonly GuardEvent[], kind: GuardEvent['kind']): GuardEvent[] {
  return events.filter((event) => event.kind === kind)
}

/** Each gateway reports a change, once: what it reports again is another change. */
function isOfChange(report: GuardEvent, reports: readonly GuardEvent[]): boolean {
  const first = reports[0] as GuardEvent
  if (first.instance !== report.instance || first.from !== report.from) return false
  if (reports.some(({ gateway }) => gateway === report.gateway)) return false
  const timeline = reports.find((known) => known.timeline !== undefined)?.timeline
  if (timeline !== undefined && report.timeline !== undefined) return timeline === report.timeline
  return distanceMs(report, first) <= SAME_CHANGE_MS
}

/** Of several changes the nearest: a leader may be lost again soon. */
function isNearest(event: GuardEvent, change: GuardEvent, rivals: readonly GuardEvent[]): boolean {
  const apartMs = distanceMs(event, change)
  return apartMs <= SAME_CHANGE_MS && rivals.every((rival) => distanceMs(event, rival) >= apartMs)
}

function toFailover(
  reports: readonly GuardEvent[],
  changes: readonly GuardEvent[],
  events: readonly GuardEvent[],
  durability: Durability,
): Failover {
  const first = reports[0] as GuardEvent
  const sameFrom = changes.filter((change) => change.from === first.from)
  // The first of them: an instance that fenced itself has a postmaster that died of it.
  const lost = ofKind(events, 'leader-lost')
    .sort(byTime)
    .find((event) => event.instance === first.from && isNearest(event, first, sameFrom))
  // Whoever leads now was chosen although it was not synchronous: durability promises nothing.
  const sameTo = changes.filter((change) => change.instance === first.instance)
  const accepted = ofKind(events, 'loss-accepted').find(
    (event) => event.instance === first.instance && isNearest(event, first, sameTo),
  )
  const durabilityThen = reports.find((report) => report.durability !== undefined)?.durability
  // A leader may die while clients are held for its switchover.
  const planned = lost === undefined && reports.some((report) => report.planned === true)
  const gaps = reports.flatMap((report) => report.gapMs ?? [])
  const unnoticed = gaps.length > 0 ? 'found by Patroni' : 'not known: no gateway saw it happen'
  const start = reports.find((report) => report.lsn !== undefined)
  return {
    at: first.at,
    from: first.from ?? '',
    to: first.instance,
    planned,
    reason: planned ? 'asked for' : (lost?.message ?? accepted?.message ?? unnoticed),
    gap_ms: gaps.length === 0 ? null : Math.max(...gaps),
    gateways: reports.map((report) => report.gateway ?? ''),
    receipt: receiptOf(
      accepted === undefined ? (durabilityThen ?? durability) : 'async',
      start?.lsn,
      oldEndOf(first.from, start?.timeline, events),
    ),
  }
}

/**
 * Where the WAL of the former leader ends on the timeline that the new one left. By timeline and
 * not by time: its host may be away for hours. An end on any other timeline says nothing of this
 * change.
 */
function oldEndOf(
  from: string | undefined,
  newTimeline: number | undefined,
  events: readonly GuardEvent[],
): string | undefined {
  if (newTimeline === undefined) return undefined
  return ofKind(events, 'wal-end-read')
    .filter((event) => event.instance === from && event.timeline === newTimeline - 1)
    .flatMap(({ lsn }) => lsn ?? [])
    .reduce<string | undefined>(
      (most, lsn) => (most === undefined || BigInt(lsn) > BigInt(most) ? lsn : most),
      undefined,
    )
}

/**
 * What could be missing after a change of leader: an upper bound, or a plain "not known yet". That
 * it was planned is no proof: the leader may have died meanwhile.
 */
function receiptOf(
  durability: Durability,
  newTimelineLsn: string | undefined,
  oldEndLsn: string | undefined,
): Failover['receipt'] {
  const range = { from_lsn: newTimelineLsn ?? null, to_lsn: oldEndLsn ?? null }
  const known = newTimelineLsn !== undefined && oldEndLsn !== undefined
  const difference = known ? BigInt(oldEndLsn) - BigInt(newTimelineLsn) : undefined
  const bytes = difference === undefined ? null : Number(difference > 0n ? difference : 0n)
  if (durability !== 'async') {
    // The new leader was the synchronous replica: what it lacks, nobody was told to be committed.
    const statement = 'no acknowledged commit: the new leader was the synchronous replica'
    return { ...range, bytes, acknowledged_bytes: 0, statement }
  }
  if (bytes === null) {
    const statement = 'not known yet: the disk of the former leader was not read'
    return { ...range, bytes, acknowledged_bytes: null, statement }
  }
  const statement =
    bytes === 0 ? 'nothing: the new leader had all WAL' : `at most ${bytes} bytes of WAL`
  return { ...range, bytes, acknowledged_bytes: bytes, statement }
}
