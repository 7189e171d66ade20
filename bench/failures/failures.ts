// Owns the benches of what happens to a leader: which trials each is made of, and which of their
// fields are summed up. All of them together, but for the loss of hosts, start the stacks once.
import { removeStaleBlackHole } from '../black-hole.ts'
import type { Results } from '../results.ts'
import { crashTrial } from './crash.ts'
import { summarizeFailures } from './failure-summary.ts'
import { hostLossTrials } from './host-loss.ts'
import { rerouteTrial } from './reroute.ts'
import { restartTrial, switchoverTrial } from './switchover.ts'
import { runTrials, type Trial, type TrialOptions } from './trials.ts'

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  switchover: ['stallMs'],
  'rolling-restart': ['stallMs', 'stalledMs'],
  crash: ['gapMs'],
  reroute: ['sessionMs', 'helloMs'],
  refusing: ['gapMs', 'overlapMs', 'returnGapMs'],
  'black-holed': ['gapMs', 'overlapMs', 'returnGapMs'],
}

export const FAILURE_TRIALS: Readonly<Record<string, readonly Trial[]>> = {
  switchover: [switchoverTrial],
  restart: [restartTrial],
  crash: [crashTrial],
  reroute: [rerouteTrial],
  failures: [switchoverTrial, restartTrial, crashTrial, rerouteTrial],
  'host-loss': hostLossTrials,
}

export interface FailureOptions extends TrialOptions {
  /** Only these of the bench's trials; undefined: all. */
  kinds?: readonly string[] | undefined
}

export async function benchFailures(
  results: Results,
  options: FailureOptions,
  all: readonly Trial[],
): Promise<void> {
  const trials = chooseTrials(results, all, options.kinds)
  if (trials.length === 0) return
  removeStaleBlackHole()
  await runTrials(results, options, trials)
  for (const { kind } of trials) {
    for (const field of FIELDS[kind] ?? []) summarizeFailures(results, kind, field)
  }
}

function chooseTrials(
  results: Results,
  all: readonly Trial[],
  kinds: readonly string[] = all.map(({ kind }) => kind),
): Trial[] {
  const unknown = kinds.find((kind) => !all.some((trial) => trial.kind === kind))
  if (unknown !== undefined) {
    const known = all.map(({ kind }) => kind).join(', ')
    throw new Error(`no kind ${unknown}; there are ${known}`)
  }
  return all.filter((trial) => {
    if (!kinds.includes(trial.kind)) return false
    const reason = trial.whySkipped?.()
    if (reason === undefined) return true
    console.log(`${trial.kind} is skipped: ${reason}`)
    results.note('skipped', { kind: trial.kind, reason })
    return false
  })
}
