// Owns one round: the workload runs, one fault is injected and healed, the cluster comes back by
// itself, and the history is checked against what every instance holds. A round that cannot be
// finished is a failed round.
import { setTimeout as delay } from 'node:timers/promises'
import { checkHistory } from '../harness/checker.ts'
import type { TestCluster } from '../harness/cluster.ts'
import { during, type Effect, type Fault, type Injected } from '../harness/faults.ts'
import { awaitHealthy, dropTables, readHoldings, type Topology } from '../harness/faults-cluster.ts'
import type { Stage } from '../harness/faults-stage.ts'
import { acknowledged, type Entry, type History } from '../harness/history.ts'
import { until } from '../harness/until.ts'
import { makeRandom, startWorkload, type WorkloadOptions } from '../harness/workload.ts'

export interface RoundOptions {
  stage: Stage
  cluster: TestCluster
  fault: Fault
  number: number
  seed: number
  workload?: Partial<WorkloadOptions>
  /** Instead of the fault's own. */
  holdMs?: Fault['holdMs']
}

export interface RoundReport {
  number: number
  seed: number
  fault: string
  says: string
  heldMs: number
  /**
   * Share of the tenths of a second, from the fault to health, in which a write was acknowledged.
   */
  availability: number
  /** The longest time between two acknowledged writes through the gateway, from the fault on. */
  gapMs: number
  ok: number
  failed: number
  unknown: number
  lost: number
  overlapMs: number
  /** Of a former leader, on what had begun before the next one's first acknowledgement. */
  lateAcks: number
  /** From the last acknowledgement of the former leader to the first of the next. */
  handoverMs: number | undefined
  failovers: number
  /** From healing until all instances were healthy again. */
  healthyMs: number
  problems: string[]
}

/** Before the fault, so that there is something to lose and every session is open. */
const WARM_ENTRIES = 200
const WARM_TIMEOUT_MS = 30_000
/** Of the promise: a cluster is whole again this soon after healing, without a human. */
export const HEALTHY_LIMIT_MS = 60_000
/** Beyond it the round is given up; in between it is reported with its time. */
const HEALTHY_TIMEOUT_MS = 180_000
/** Acknowledged after the cluster is whole, so that the end of the history is of the healed one. */
const AFTER_ENTRIES = 100
const SLOT_MS = 100

export async function runRound(options: RoundOptions): Promise<RoundReport> {
  const { stage, cluster, fault, number, seed } = options
  const random = makeRandom(seed)
  const schema = `chaos_${number}`
  const before = await awaitHealthy(stage, cluster, HEALTHY_TIMEOUT_MS)
  await dropTables(cluster, schema)
  const workload = await startWorkload({ ...options.workload, cluster, schema, seed })
  try {
    await until('the workload to run', WARM_TIMEOUT_MS, () => {
      const count = workload.history.entries.length
      return count >= WARM_ENTRIES ? { value: true } : { seen: `${count} operations` }
    })
    const faultMs = performance.now()
    const injected = await fault.inject({ stage, topology: before, random })
    const effect = await hold(options, injected, workload.history, before, random)
    const healMs = performance.now()
    const after = await awaitHealthy(stage, cluster, HEALTHY_TIMEOUT_MS)
    const healthyMs = performance.now()
    await goOn(workload.history)
    await workload.stop()
    const holdings = await readHoldings(after, cluster, schema)
    const { entries } = workload.history
    const verdict = checkHistory(entries, holdings)
    await dropTables(cluster, schema)
    const late = healthyMs - healMs > HEALTHY_LIMIT_MS
    const lateness = `healthy only ${Math.round((healthyMs - healMs) / 1000)} s after healing`
    return {
      number,
      seed,
      fault: fault.name,
      says: [injected.says, ...(effect === undefined ? [] : [effect.says])].join('; '),
      heldMs: Math.round(healMs - faultMs),
      ...measure(entries, faultMs, healthyMs),
      lost: verdict.lost,
      overlapMs: verdict.overlapMs,
      lateAcks: verdict.late,
      handoverMs: verdict.handoverMsMin,
      failovers: after.timeline - before.timeline,
      healthyMs: Math.round(healthyMs - healMs),
      problems: [...verdict.problems, ...(late ? [lateness] : []), ...(effect?.problems ?? [])],
    }
  } finally {
    await workload.stop()
  }
}

async function goOn({ entries }: History): Promise<void> {
  const from = entries.length
  const since = () => entries.slice(from).filter(({ outcome }) => outcome === 'ok').length
  await until('writes after healing', WARM_TIMEOUT_MS, () =>
    since() >= AFTER_ENTRIES ? { value: true } : { seen: `${since()} operations` },
  )
}

async function hold(
  { fault, holdMs }: RoundOptions,
  injected: Injected,
  history: History,
  before: Topology,
  random: () => number,
): Promise<Effect | undefined> {
  const [least, most] = holdMs ?? fault.holdMs
  const deadlineMs = performance.now() + least + random() * (most - least)
  const isTaken = () =>
    fault.healsAtTakeover === true &&
    history.entries.some(({ by }) => by !== undefined && by.timeline > before.timeline)
  const end = async () => {
    while (performance.now() < deadlineMs && !isTaken()) await delay(20)
  }
  return during(injected, end())
}

function measure(entries: readonly Entry[], faultMs: number, healthyMs: number) {
  const acks = acknowledged(entries)
    .filter(({ path, endedMs }) => path === 'gateway' && endedMs > faultMs - SLOT_MS)
    .map(({ endedMs }) => endedMs)
  let gapMs = 0
  let lastMs = faultMs
  const slots = new Set<number>()
  for (const atMs of acks) {
    gapMs = Math.max(gapMs, atMs - lastMs)
    lastMs = Math.max(lastMs, atMs)
    if (atMs >= faultMs && atMs <= healthyMs) slots.add(Math.floor((atMs - faultMs) / SLOT_MS))
  }
  const counted = Math.max(1, Math.ceil((healthyMs - faultMs) / SLOT_MS))
  const gateway = entries.filter(({ path }) => path === 'gateway')
  const count = (outcome: Entry['outcome']) =>
    gateway.filter((entry) => entry.outcome === outcome && entry.conflict !== true).length
  return {
    availability: Math.min(1, slots.size / counted),
    gapMs: Math.round(gapMs),
    ok: entries.filter(({ outcome }) => outcome === 'ok').length,
    failed: count('fail'),
    unknown: count('unknown'),
  }
}

export function formatRound(report: RoundReport): string {
  const { number, fault, says, availability, gapMs, failed, unknown, lost } = report
  const fields = [
    `available ${(availability * 100).toFixed(1)} %`,
    `gap ${(gapMs / 1000).toFixed(2)} s`,
    `ok ${report.ok}`,
    `failed ${failed}`,
    `unknown ${unknown}`,
    `lost ${lost}`,
    `overlap ${report.overlapMs.toFixed(0)} ms`,
    ...(report.lateAcks === 0 ? [] : [`late ${report.lateAcks}`]),
    `failovers ${report.failovers}`,
    `whole in ${(report.healthyMs / 1000).toFixed(1)} s`,
  ]
  const lines = report.problems.map((problem) => `    PROBLEM: ${problem}`)
  const title = `${String(number).padStart(4)}  ${fault} (${says}, ${report.heldMs} ms)`
  return [title, `      ${fields.join(' · ')}`, ...lines].join('\n')
}
