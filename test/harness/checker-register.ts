// Owns the check of registers that change by compare-and-set only. Every value is written once, so
// a register's history is one chain of values; a fork, a step back in time, or a read of what was
// long replaced breaks it.
import { describeAnomaly, type Holding } from './checker-anomaly.ts'
import type { Entry } from './history.ts'

interface Change {
  key: number
  from: number
  to: number
  startedMs: number
  endedMs: number
  outcome: Entry['outcome']
}

interface LostChange {
  instance: string
  key: number
  from: number
  to: number
}

export function checkRegisters(entries: readonly Entry[], holdings: readonly Holding[]) {
  const changes = entries.flatMap(({ detail, startedMs, endedMs, outcome }): Change[] =>
    detail.kind === 'compare-and-set' ? [{ ...detail, startedMs, endedMs, outcome }] : [],
  )
  const certain = changes.filter(({ outcome }) => outcome === 'ok')
  const writerOf = new Map(changes.map((change) => [change.to, change]))
  const replacedBy = new Map(certain.map((change) => [`${change.key} ${change.from}`, change]))
  const reads = entries.flatMap(({ detail, path, startedMs, outcome }) =>
    detail.kind === 'read' && outcome === 'ok' ? [{ ...detail, path, startedMs }] : [],
  )

  const forks = certain.filter((one) => replacedBy.get(`${one.key} ${one.from}`) !== one)
  const early = certain.filter((one) => {
    const writer = writerOf.get(one.from)
    return writer !== undefined && one.endedMs < writer.startedMs
  })
  const unborn = [...certain.map(({ from }) => from), ...reads.map(({ value }) => value)].filter(
    (value) => value !== 0 && writerOf.get(value)?.outcome !== 'ok' && !mayBe(writerOf.get(value)),
  )
  // A replica may be behind: only what the gateway gave for the leader's answer has to be fresh.
  const fresh = reads.filter(({ path }) => path === 'gateway')
  const stale = fresh.filter(({ key, value, startedMs }) => {
    const change = replacedBy.get(`${key} ${value}`)
    return change !== undefined && change.endedMs < startedMs
  })
  const lost = holdings.flatMap((held) => findLost(held, changes))
  return {
    lost: new Set(lost.map(({ to }) => to)).size,
    problems: [
      ...describeAnomaly('a register value was replaced twice', forks),
      ...describeAnomaly('a register value was replaced before it was written', early),
      ...describeAnomaly('a register value was seen that nobody wrote', unborn),
      ...describeAnomaly('a register was read long after its value was replaced', stale),
      ...describeAnomaly('an acknowledged change of a register is gone', lost),
    ],
  }
}

const mayBe = (change: Change | undefined) => change?.outcome === 'unknown'

/** Walking back from what is there must meet every acknowledged change. */
function findLost(held: Holding, changes: readonly Change[]): LostChange[] {
  const lost: LostChange[] = []
  for (const [key, value] of held.registers) {
    const ofKey = changes.filter((change) => change.key === key && change.outcome !== 'fail')
    const byResult = new Map(ofKey.map((change) => [change.to, change]))
    const met = new Set<Change>()
    for (let at = byResult.get(value); at !== undefined && !met.has(at); ) {
      met.add(at)
      at = byResult.get(at.from)
    }
    for (const change of ofKey) {
      if (change.outcome !== 'ok' || met.has(change)) continue
      lost.push({ instance: held.instance, key, from: change.from, to: change.to })
    }
  }
  return lost
}
