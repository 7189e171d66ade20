// Owns the order of trials. A stack has the machine for itself: what the others do while they wait
// their turn would count against it, and they are many processes. So each is started several times,
// for a part of its trials, and in between the others have theirs: whatever else this machine does
// meets every subject alike. A trial starts when its cluster is whole, and ends when it is again.
import { setTimeout as delay } from 'node:timers/promises'
import { findBenchUser } from '../background-process.ts'
import { type OurOptions, startOurStack } from '../our-stack.ts'
import { PEERS } from '../peers/peer-settings.ts'
import { startPeerStack } from '../peers/peer-stack.ts'
import type { Results } from '../results.ts'
import type { Stack } from '../stack.ts'

export interface Trial {
  kind: string
  /** Why it cannot be done here; undefined, or no function: it can. */
  whySkipped?(): string | undefined
  /** The row of one trial. `round` differs for each trial of this kind on a stack. */
  run(stack: Stack, round: number): Promise<Record<string, unknown>>
}

export interface TrialOptions extends OurOptions {
  /** Of each peer. */
  peerRounds: number
  /** Of ours. */
  rounds: number
}

interface Subject {
  name: string
  rounds: number
  start(): Promise<Stack>
}

/** How often each stack is started. */
const TURNS = 3
const SETTLE_MS = 1000
const BROKEN_LENGTH_MAX = 500

export async function runTrials(
  results: Results,
  options: TrialOptions,
  trials: readonly Trial[],
): Promise<void> {
  const user = await findBenchUser()
  const peers = options.peerRounds > 0 ? PEERS : []
  const subjects: Subject[] = [
    { name: 'ours', rounds: options.rounds, start: () => startOurStack(options) },
    ...peers.map((settings) => ({
      name: settings.name,
      rounds: options.peerRounds,
      start: () => startPeerStack({ settings, user }),
    })),
  ]
  for (const { name, source } of peers) results.note(`source of ${name}`, { source })
  const described = new Set<string>()
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const subject of turn % 2 === 0 ? subjects : subjects.toReversed()) {
      const rounds = roundsOf(subject, turn)
      if (rounds.length === 0) continue
      await using stack = await subject.start()
      if (!described.has(stack.name)) {
        results.note(`configuration of ${stack.name}`, stack.configuration())
      }
      described.add(stack.name)
      for (const round of rounds) await runRound(results, stack, round, trials)
    }
  }
}

/** Numbered from 1 over all turns; those of one turn. */
function roundsOf({ rounds }: Subject, turn: number): number[] {
  const before = Math.floor((rounds * turn) / TURNS)
  const until = Math.floor((rounds * (turn + 1)) / TURNS)
  return Array.from({ length: until - before }, (_, index) => before + index + 1)
}

async function runRound(
  results: Results,
  stack: Stack,
  round: number,
  trials: readonly Trial[],
): Promise<void> {
  for (const trial of trials) {
    await stack.waitWhole()
    const row = await runTrial(trial, stack, round)
    results.row({ subject: `${stack.name}/${trial.kind}`, round, ...stack.facts, ...row })
  }
}

/** A trial that breaks is a row, too: what was measured before it is not thrown away. */
async function runTrial(trial: Trial, stack: Stack, round: number) {
  try {
    return await trial.run(stack, round)
  } catch (error) {
    return { broken: (error as Error).message.slice(0, BROKEN_LENGTH_MAX) }
  }
}

/** Whole twice in a row: right after a fault, what is shown may be what was. */
export async function settle(stack: Stack): Promise<string> {
  await stack.waitWhole()
  await delay(SETTLE_MS)
  return stack.waitWhole()
}
