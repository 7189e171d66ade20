// Owns the bench of host loss: the leader's whole host goes under a probe that writes, and comes
// back once somebody else is written to. The two kinds of loss are trials of their own, in turn.
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../test/harness/until.ts'
import { whyNoBlackHole } from '../black-hole.ts'
import { LOSS_KINDS, type LossKind } from '../host-loss.ts'
import type { OurStack } from '../our-stack.ts'
import type { Stack, StackInstance } from '../stack.ts'
import { findLongestGap, findOverlapMs } from './acknowledgements.ts'
import { settle, type Trial } from './trials.ts'
import { startWriteProbe, type WriteProbe } from './write-probe.ts'

const WARM_UP_MS = 1000
const WARM_UP_TIMEOUT_MS = 60_000
/** So long after the loss, and after the first sign of a new leader, the old one may yet speak. */
const AFTERMATH_MS = 1000
const RECOVERY_TIMEOUT_MS = 180_000

export const hostLossTrials: readonly Trial[] = LOSS_KINDS.map((kind, index) => ({
  kind,
  whySkipped: () => (kind === 'black-holed' ? whyNoBlackHole() : undefined),
  // Both kinds write to one table: their probes need numbers of their own.
  run: (stack, round) => runHostLoss(stack, kind, round * LOSS_KINDS.length + index),
}))

async function runHostLoss(
  stack: Stack,
  kind: LossKind,
  probeRound: number,
): Promise<Record<string, unknown>> {
  const leader = await stack.waitWhole()
  const instance = (await stack.instances()).find(({ name }) => name === leader)
  if (instance === undefined) throw new Error(`BUG: ${leader} is no instance`)
  const probe = await startWriteProbe(stack.write, probeRound)
  try {
    const begunMs = performance.now()
    const begunAt = Date.now()
    await awaitWrites(probe, begunMs + WARM_UP_MS, WARM_UP_TIMEOUT_MS)
    const faultMs = performance.now()
    const restoredMs = await loseUntilWritten(stack, kind, leader, probe)
    const to = await settle(stack)
    const wholeMs = Math.round(performance.now() - restoredMs)
    const { acknowledged, failed, unsent } = await probe.stop()
    const seen = judge(probe, instance, faultMs, restoredMs)
    const lost = await probe.countLost()
    const said = 'lastFailover' in stack ? await saidOf(stack as OurStack, begunAt) : {}
    return { ...seen, acknowledged, failed, unsent, lost, wholeMs, from: leader, to, ...said }
  } finally {
    await probe.stop()
  }
}

/** Returns when its restoration began. */
async function loseUntilWritten(
  stack: Stack,
  kind: LossKind,
  leader: string,
  probe: WriteProbe,
): Promise<number> {
  const loss = await stack.loseHost(leader, kind)
  let restoredMs = 0
  try {
    // What is sent from here on can only be acknowledged by another host.
    await awaitWrites(probe, performance.now(), RECOVERY_TIMEOUT_MS)
    await delay(AFTERMATH_MS)
  } finally {
    restoredMs = performance.now()
    await loss.restore()
  }
  return restoredMs
}

async function awaitWrites(probe: WriteProbe, sinceMs: number, timeoutMs: number): Promise<void> {
  await until('the probe to write', timeoutMs, () =>
    probe.hasWrittenSince(sinceMs) ? { value: true } : { seen: 'no acknowledgement' },
  )
}

/** The gap of the loss, and apart from it the longest stall while the host came back. */
function judge(probe: WriteProbe, lost: StackInstance, faultMs: number, restoredMs: number) {
  const all = probe.acknowledgements()
  const before = all.filter(({ ackedMs }) => ackedMs <= restoredMs)
  const momentsOf = (list: typeof all) => list.map(({ ackedMs }) => ackedMs)
  const gap = findLongestGap(momentsOf(before))
  const after = momentsOf(all).filter((at) => at > restoredMs)
  const overlapMs = findOverlapMs(before, lost.direct.host)
  return {
    gapMs: Math.round(gap.gapMs),
    noticedMs: Math.round(gap.startMs - faultMs),
    returnGapMs: Math.round(findLongestGap([restoredMs, ...after]).gapMs),
    ...(overlapMs === undefined ? {} : { overlapMs: Math.round(overlapMs) }),
  }
}

/** What the platform says of it, to hold against what the probe saw; it may not have it yet. */
async function saidOf(stack: OurStack, begunAt: number): Promise<Record<string, unknown>> {
  const recorded = await stack.lastFailover()
  if (recorded === null || Date.parse(recorded.at) < begunAt) return {}
  const { from, to, reason, gap_ms, receipt } = recorded
  return { said: { from, to, reason, gapMs: gap_ms, receipt: receipt.statement } }
}
