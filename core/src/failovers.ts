// Owns how a change of leader is told: from what agents reported of it, one record with its timings
// and its loss receipt. Pure, so that each shape of a failover is a test.
import type { Durability, Failover } from './contract/clusters.ts'
import type { GuardEvent } from './protocol.ts'

/** Reports of one change lie this close together; hosts' clocks may differ by some of it. */
const SAME_CHANGE_MS = 120_000

function near(event: GuardEvent, change: GuardEvent): boolean {
  return Math.abs(Date.parse(event.at) - Date.parse(change.at)) <= SAME_CHANGE_MS
}

/**
 * The changes of leader, the newest first. `events` in any order; `durability` is for those that do
 * not say what it was then.
 */
export function summarizeFailovers(
  events: readonly GuardEvent[],
  durability: Durability,
): Failover[] {
  const changes = events.filter((event) => event.kind === 'leader-changed')
  const byLeader = new Map<string, GuardEvent[]>()
  for (const change of changes) {
    // Each gateway reports it; they are one change when they point the same way at about the same
    // time.
    const known = [...byLeader.values()].find(
      ([first]) =>
        first !== undefined &&
        first.instance === change.instance &&
        first.from === change.from &&
        near(change, first),
    )
    if (known === undefined) byLeader.set(change.id, [change])
    else known.push(change)
  }
  return [...byLeader.values()]
    .map((reports) => toFailover(reports, events, durability))
    .sort((a, b) => Date.parse(b.at) - Date.parse(a.at))
}

function toFailover(
  reports: readonly GuardEvent[],
  events: readonly GuardEvent[],
  durability: Durability,
): Failover {
  const first = [...reports].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))[0] as GuardEvent
  const lost = events.find(
    (event) => event.kind === 'leader-lost' && event.instance === first.from && near(event, first),
  )
  const end = events.find(
    (event) => event.kind === 'wal-end-read' && event.instance === first.from && near(event, first),
  )
  // Whoever leads now was chosen although it was not synchronous: durability promises nothing.
  const accepted = events.find(
    (event) =>
      event.kind === 'loss-accepted' && event.instance === first.instance && near(event, first),
  )
  const durabilityThen = reports.find((report) => report.durability !== undefined)?.durability
  const planned = reports.some((report) => report.planned === true)
  const start = reports.find((report) => report.lsn !== undefined)
  return {
    at: first.at,
    from: first.from ?? '',
    to: first.instance,
    planned,
    reason: planned ? 'asked for' : (lost?.message ?? accepted?.message ?? 'found by Patroni'),
    gap_ms: Math.max(...reports.map((report) => report.gapMs ?? 0)),
    gateways: reports.map((report) => report.gateway ?? ''),
    receipt: receiptOf(
      planned,
      accepted === undefined ? (durabilityThen ?? durability) : 'async',
      start?.lsn,
      end?.lsn,
    ),
  }
}

/** What could be missing after a change of leader: an upper bound, or a plain "not known yet". */
function receiptOf(
  planned: boolean,
  durability: Durability,
  newTimelineLsn: string | undefined,
  oldEndLsn: string | undefined,
): Failover['receipt'] {
  const range = { from_lsn: newTimelineLsn ?? null, to_lsn: oldEndLsn ?? null }
  if (planned) {
    return { ...range, bytes: 0, acknowledged_bytes: 0, statement: 'nothing: it was planned' }
  }
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
