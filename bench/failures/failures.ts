// Owns the benches of what happens to a leader: which trials each is made of, and which of their
// fields are summed up. All of them together start the stacks once.
import type { Results } from '../results.ts'
import { crashTrial } from './crash.ts'
import { summarizeFailures } from './failure-summary.ts'
import { rerouteTrial } from './reroute.ts'
import { switchoverTrial } from './switchover.ts'
import { runTrials, type Trial, type TrialOptions } from './trials.ts'

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  switchover: ['stallMs'],
  crash: ['gapMs'],
  reroute: ['sessionMs', 'helloMs'],
}

export const FAILURE_TRIALS: Readonly<Record<string, readonly Trial[]>> = {
  switchover: [switchoverTrial],
  crash: [crashTrial],
  reroute: [rerouteTrial],
  failures: [switchoverTrial, crashTrial, rerouteTrial],
}

export async function benchFailures(
  results: Results,
  options: TrialOptions,
  trials: readonly Trial[],
): Promise<void> {
  await runTrials(results, options, trials)
  for (const { kind } of trials) {
    for (const field of FIELDS[kind] ?? []) summarizeFailures(results, kind, field)
  }
}
