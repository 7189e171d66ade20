// Owns the order of trials on several stacks that all run at once: ours between each two peers, so
// that whatever else this machine does meets every subject alike. A trial starts when its cluster
// is whole, and ends when it is again.
import { setTimeout as delay } from 'node:timers/promises'
import { findBenchUser } from '../background-process.ts'
import { type OurOptions, type OurStack, startOurStack } from '../our-stack.ts'
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
  /** Of ours: spread between the peers' trials, and what is left at the end. */
  rounds: number
}

const SETTLE_MS = 1000
const BROKEN_LENGTH_MAX = 500

export async function runTrials(
  results: Results,
  options: TrialOptions,
  trials: readonly Trial[],
): Promise<void> {
  await using stacks = new AsyncDisposableStack()
  const ours = stacks.use(await startOurStack(options))
  const peers: Stack[] = []
  const user = await findBenchUser()
  for (const settings of options.peerRounds > 0 ? PEERS : []) {
    const peer = stacks.use(await startPeerStack({ settings, user }))
    peers.push(peer)
    results.note(`configuration of ${settings.name}`, {
      source: settings.source,
      files: peer.configuration(),
    })
  }
  results.note('configuration of ours', ours.configuration())
  const rounds = new Map<string, number>()
  for (const stack of planTrials(ours, peers, options)) {
    const round = (rounds.get(stack.name) ?? 0) + 1
    rounds.set(stack.name, round)
    for (const trial of trials) {
      await stack.waitWhole()
      const row = await runTrial(trial, stack, round)
      results.row({ subject: `${stack.name}/${trial.kind}`, round, ...stack.facts, ...row })
    }
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

function planTrials(ours: OurStack, peers: readonly Stack[], options: TrialOptions): Stack[] {
  const plan: Stack[] = []
  const perPeer = Math.floor(options.rounds / Math.max(1, peers.length * options.peerRounds))
  for (let round = 0; round < options.peerRounds; round += 1) {
    const order = round % 2 === 0 ? peers : peers.toReversed()
    for (const peer of order) plan.push(...Array.from({ length: perPeer }, () => ours), peer)
  }
  const left = options.rounds - plan.filter((stack) => stack === ours).length
  return [...plan, ...Array.from({ length: left }, () => ours)]
}

/** Whole twice in a row: right after a fault, what is shown may be what was. */
export async function settle(stack: Stack): Promise<string> {
  await stack.waitWhole()
  await delay(SETTLE_MS)
  return stack.waitWhole()
}
