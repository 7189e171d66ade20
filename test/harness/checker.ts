// Owns the verdict on a history: is everything that was acknowledged there, on every instance, did
// nobody acknowledge after somebody else had begun to, and is no account's money gone. Pure: it is
// given what each instance holds after healing.

import { describeAnomaly, type Holding } from './checker-anomaly.ts'
import { checkLists } from './checker-lists.ts'
import { checkRegisters } from './checker-register.ts'
import { acknowledged, type Entry } from './history.ts'
import { ACCOUNTS, OPENING_BALANCE } from './workload-clients.ts'

export interface Verdict {
  /** Acknowledged writes that are missing on some instance. */
  lost: number
  /**
   * How long a former leader went on acknowledging what began after the first acknowledgement of
   * the next; 0: it did not.
   */
  overlapMs: number
  /** Acknowledgements of a former leader that came then, of what had begun before. */
  late: number
  /**
   * From the last acknowledgement of a former leader to the first of the next, where there was a
   * next.
   */
  handoverMsMin: number | undefined
  /** Timelines on which writes were acknowledged. */
  timelines: number
  /** One sentence per anomaly, at most a few of a kind; none: the history is as it must be. */
  problems: string[]
}

export function checkHistory(entries: readonly Entry[], holdings: readonly Holding[]): Verdict {
  const inserts = checkInserts(entries, holdings)
  const leaders = checkLeaders(entries)
  const registers = checkRegisters(entries, holdings)
  const lists = checkLists(entries, holdings)
  const problems = [
    ...inserts.problems,
    ...leaders.problems,
    ...registers.problems,
    ...lists.problems,
    ...checkBank(entries, holdings),
    ...checkAgreement(holdings),
  ]
  return {
    lost: inserts.lost + registers.lost + lists.lost,
    overlapMs: leaders.overlapMs,
    late: leaders.late,
    handoverMsMin: leaders.handoverMsMin,
    timelines: leaders.timelines,
    problems,
  }
}

function checkInserts(entries: readonly Entry[], holdings: readonly Holding[]) {
  const valuesOf = (outcome: Entry['outcome']) =>
    entries.flatMap(({ outcome: is, detail }) =>
      is === outcome && (detail.kind === 'insert' || detail.kind === 'transfer')
        ? [detail.value]
        : [],
    )
  const promised = valuesOf('ok')
  const refused = valuesOf('fail')
  const missing = new Set<number>()
  const problems: string[] = []
  for (const { instance, values } of holdings) {
    const there = new Set(values)
    const gone = promised.filter((value) => !there.has(value))
    for (const value of gone) missing.add(value)
    const uninvited = refused.filter((value) => there.has(value))
    problems.push(
      ...describeAnomaly(`acknowledged rows missing on ${instance}`, gone),
      ...describeAnomaly(`refused rows found on ${instance}`, uninvited),
    )
  }
  return { lost: missing.size, problems }
}

/**
 * A timeline has one leader, and no former leader acknowledges what began after the first
 * acknowledgement on a later one. What had begun before may still be heard of: a host that thaws
 * delivers the word on commits whose replica had confirmed them (decisions/018). Whether such a
 * row is there is asked of every row.
 */
export function checkLeaders(entries: readonly Entry[]) {
  const acks = acknowledged(entries)
  const spans = new Map<number, { firstMs: number; lastMs: number; instances: Set<string> }>()
  for (const { by, endedMs } of acks) {
    const span = spans.get(by.timeline)
    const { firstMs = endedMs, instances = [] } = span ?? {}
    const all = new Set([...instances, by.instance])
    spans.set(by.timeline, { firstMs, lastMs: endedMs, instances: all })
  }
  const problems = [...spans]
    .filter(([, { instances }]) => instances.size > 1)
    .map(
      ([timeline, { instances }]) =>
        `two leaders on timeline ${timeline}: ${[...instances].join(', ')}`,
    )
  const handovers: number[] = []
  const overlaps: number[] = []
  let late = 0
  for (const [timeline, { lastMs }] of spans) {
    const later = [...spans].filter(([other]) => other > timeline)
    if (later.length === 0) continue
    const nextMs = Math.min(...later.map(([, { firstMs }]) => firstMs))
    handovers.push(nextMs - lastMs)
    const after = acks.filter(({ by, endedMs }) => by.timeline === timeline && endedMs > nextMs)
    const begun = after.filter(({ startedMs }) => startedMs > nextMs)
    late += after.length - begun.length
    overlaps.push(...begun.map(({ endedMs }) => endedMs - nextMs))
  }
  const overlapMs = Math.max(0, ...overlaps)
  if (overlapMs > 0) {
    problems.push(`a former leader acknowledged ${overlapMs.toFixed(1)} ms after the next one`)
  }
  const handoverMsMin = handovers.length === 0 ? undefined : Math.min(...handovers)
  return { overlapMs, late, handoverMsMin, timelines: spans.size, problems }
}

function checkBank(entries: readonly Entry[], holdings: readonly Holding[]): string[] {
  const total = ACCOUNTS * OPENING_BALANCE
  const sums = entries.flatMap(({ outcome, detail }) =>
    outcome === 'ok' && detail.kind === 'sum' && detail.sum !== total ? [detail.sum] : [],
  )
  const ends = holdings
    .map(({ instance, balances }) => ({
      instance,
      sum: [...balances.values()].reduce((sum, balance) => sum + balance, 0),
    }))
    .filter(({ sum }) => sum !== total)
  return [
    ...describeAnomaly(`a sum other than ${total} was read`, sums),
    ...describeAnomaly(`the money is not ${total} any more`, ends),
    ...holdings.flatMap((held) => checkTransfers(entries, held)),
  ]
}

/** Each transfer is there with both its sides, or not at all. */
function checkTransfers(entries: readonly Entry[], held: Holding): string[] {
  const there = new Set(held.values)
  const expected = new Map<number, number>()
  const move = (account: number, amount: number) =>
    expected.set(account, (expected.get(account) ?? OPENING_BALANCE) + amount)
  for (const { detail } of entries) {
    if (detail.kind !== 'transfer' || !there.has(detail.value)) continue
    move(detail.from, -detail.amount)
    move(detail.to, detail.amount)
  }
  const wrong = [...held.balances]
    .filter(([account, balance]) => balance !== (expected.get(account) ?? OPENING_BALANCE))
    .map(([account]) => account)
  const said = `accounts on ${held.instance} whose balance is not that of its transfers`
  return describeAnomaly(said, wrong)
}

function checkAgreement(holdings: readonly Holding[]): string[] {
  const plain = (held: Holding) =>
    JSON.stringify([
      [...held.values].sort((a, b) => a - b),
      ...[held.registers, held.lists, held.balances].map((map) =>
        [...map].sort(([a], [b]) => a - b),
      ),
    ])
  const [first, ...others] = holdings
  if (first === undefined) return []
  const expected = plain(first)
  const different = others.filter((held) => plain(held) !== expected)
  return different.map(({ instance }) => `${instance} holds other data than ${first.instance}`)
}
