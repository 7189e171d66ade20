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
   * How long a former leader went on acknowledging after the first acknowledgement of the next; 0:
   * it did not.
   */
  overlapMs: number
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
    handoverMsMin: leaders.handoverMsMin,
    timelines: leaders.timelines,
    problems,
  }
}

function checkInserts(entries: readonly Entry[], holdings: readonly Holding[]) {
  const valuesOf = (outcome: Entry['outcome']) =>
    entries.flatMap(({ outcome: is, detail }) =>
      is === outcome && detail.kind === 'insert' ? [detail.value] : [],
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
 * A timeline has one leader, and none acknowledges after the first acknowledgement on a later one.
 */
export function checkLeaders(entries: readonly Entry[]) {
  const spans = new Map<number, { firstMs: number; lastMs: number; instances: Set<string> }>()
  for (const { by, endedMs } of acknowledged(entries)) {
    const span = spans.get(by.timeline)
    if (span === undefined) {
      const instances = new Set([by.instance])
      spans.set(by.timeline, { firstMs: endedMs, lastMs: endedMs, instances })
    } else {
      span.lastMs = endedMs
      span.instances.add(by.instance)
    }
  }
  const ordered = [...spans]
    .sort(([a], [b]) => a - b)
    .map(([timeline, span]) => ({ timeline, span }))
  const problems: string[] = []
  let handoverMsMin: number | undefined
  let lastMs = Number.NEGATIVE_INFINITY
  for (const { timeline, span } of ordered) {
    if (span.instances.size > 1) {
      problems.push(`two leaders on timeline ${timeline}: ${[...span.instances].join(', ')}`)
    }
    if (Number.isFinite(lastMs)) {
      handoverMsMin = Math.min(handoverMsMin ?? Number.POSITIVE_INFINITY, span.firstMs - lastMs)
    }
    lastMs = Math.max(lastMs, span.lastMs)
  }
  const overlapMs = Math.max(0, -(handoverMsMin ?? 0))
  if (overlapMs > 0) {
    problems.push(`a former leader acknowledged ${overlapMs.toFixed(1)} ms after the next one`)
  }
  return { overlapMs, handoverMsMin, timelines: ordered.length, problems }
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
  ]
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
