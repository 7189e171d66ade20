// Owns when an agent may take the leader key away: pure rules over what was observed, so that each
// case is a test. Patroni and the dcs stay the only judges of who leads next; these rules only
// decide that the present holder has lost its claim, and each says why that is safe.
import type { Sensitivity } from './host-spec.ts'

/** Patroni's settings that the waits below depend on; render/patroni.ts writes the same ones. */
export const PATRONI_TIMING = {
  ttlSeconds: 20,
  loopWaitSeconds: 1,
  retryTimeoutSeconds: 3,
} as const

export interface SensitivityLimits {
  /** A host not heard by a majority of the others for this long is taken for dead. */
  hostSilenceMs: number
  /** A leader whose own canary cannot write for this long is fenced. */
  canaryMs: number
}

export const SENSITIVITY_LIMITS: Readonly<Record<Sensitivity, SensitivityLimits>> = {
  fast: { hostSilenceMs: 1000, canaryMs: 5000 },
  balanced: { hostSilenceMs: 3000, canaryMs: 10_000 },
  patient: { hostSilenceMs: 10_000, canaryMs: 30_000 },
}

/** After this the old leader has demoted itself: it could not refresh its lease (DESIGN 6). */
export const SELF_DEMOTION_MS =
  (PATRONI_TIMING.loopWaitSeconds + 2 * PATRONI_TIMING.retryTimeoutSeconds) * 1000

/**
 * An agent that reaches neither dcs nor peers fences its leader this soon: before SELF_DEMOTION_MS.
 */
export const ISOLATION_FENCE_MS = 5000

/**
 * By then it has: counted from the loss itself, and not, as a lease, from what Patroni did before.
 */
export const FENCED_SILENCE_MS = ISOLATION_FENCE_MS + 1000

export type Verdict = { act: false; say: string } | { act: true; say: string }

/** A server that promotes refuses, which is an answer; without any it gets this much longer. */
const PROMOTION_MS = 60_000

const no = (say: string): Verdict => ({ act: false, say })
const yes = (say: string): Verdict => ({ act: true, say })

export interface PostmasterObservation {
  /** A zombie counts as gone. */
  alive: boolean
  /** pg_control says that it was shut down in good order. */
  cleanShutdown: boolean
  holdsLeaderKey: boolean
  /** A switchover away from this instance is on its way (Patroni's failover key). */
  switchoverPending: boolean
  paused: boolean
}

/** The agent of the leader's own host: what it sees of the postmaster is certain. */
export function judgePostmaster(seen: PostmasterObservation): Verdict & { fence: boolean } {
  const keep = (say: string) => ({ ...no(say), fence: false })
  if (seen.alive) return keep('the postmaster lives')
  if (!seen.holdsLeaderKey) return keep('the instance does not lead')
  if (seen.paused) return keep('the cluster is paused: nothing happens by itself')
  if (!seen.cleanShutdown) {
    // A dead postmaster cannot acknowledge; what is left of its backends is killed with the fence.
    return { ...yes('the postmaster of the leader died'), fence: true }
  }
  if (seen.switchoverPending) {
    // Patroni polls for this once a second; it is already on its way out, so nothing is killed.
    return { ...yes('the leader was shut down for a switchover'), fence: false }
  }
  return keep('PostgreSQL was shut down in good order: Patroni restarts it')
}

export interface CanaryObservation {
  /** The leader answered a canary once under its present claim. */
  wrote: boolean
  /** Since its claim was seen first, and since it last answered: by this agent, so far. */
  heldMs: number
  silentMs: number
  limitMs: number
}

/** The agent of the leader's own host: a new session there finds no answer. */
export function judgeCanary(seen: CanaryObservation): Verdict {
  const silent = `no write for ${Math.round(seen.silentMs)} ms`
  if (seen.silentMs <= seen.limitMs) return no('it answers')
  // A leader that was never seen to answer may still be promoting, but not for ever: an agent that
  // started during a freeze has not seen it answer, either.
  if (seen.wrote || seen.heldMs > seen.limitMs + PROMOTION_MS) return yes(silent)
  return no(`${silent}: it may still be promoting`)
}

/**
 * Whether an instance that accepts writes has no right to, for all that the dcs says. Before the
 * cluster has an identifier its first instance writes while nobody leads: its Patroni makes the
 * roles, and would not do so a second time.
 */
export function isUnclaimed(
  seen: { leader: { name: string } | undefined; initialized: boolean; paused: boolean },
  instance: string,
): boolean {
  if (seen.paused || seen.leader?.name === instance) return false
  return seen.leader !== undefined || seen.initialized
}

export interface SilenceObservation {
  /** Hosts of the cluster other than the leader's, and those of them that do not hear it. */
  otherHosts: number
  silentFor: readonly number[]
  limitMs: number
  durability: 'strict' | 'sync' | 'async'
  /**
   * A replica that was in sync when the leader was last heard; none: its acknowledgements needed
   * nobody.
   */
  syncReplicaKnown: boolean
  /** Since the leader's lease was last refreshed; undefined when it could not be asked. */
  leaseAgeMs: number | undefined
  paused: boolean
}

/**
 * Agents of the other hosts: the leader's own host says that its instance has given up this very
 * claim, and is a replica. Should it come back to the lead at this moment, it has to write down
 * first that it has no synchronous replica, and the claim is taken only if nobody has. Where it
 * needs none to acknowledge, its lease is waited for.
 */
export function judgeSurrender(
  seen: Pick<SilenceObservation, 'durability' | 'syncReplicaKnown' | 'paused'>,
): Verdict {
  if (seen.paused) return no('the cluster is paused: nothing happens by itself')
  if (seen.durability !== 'async' && seen.syncReplicaKnown) {
    return yes('its host says that it gave up: it does not reach the dcs')
  }
  return no('its host says that it gave up; it might come back: waits for its lease')
}

/** Agents of the other hosts: silence is a guess, so a majority must share it. */
export function judgeSilence(seen: SilenceObservation): Verdict {
  if (seen.paused) return no('the cluster is paused: nothing happens by itself')
  const silent = seen.silentFor.filter((ms) => ms >= seen.limitMs).length
  const needed = Math.floor(seen.otherHosts / 2) + 1
  if (silent < needed) return no(`${silent} of ${seen.otherHosts} hosts miss it, ${needed} needed`)
  if (seen.durability !== 'async' && seen.syncReplicaKnown) {
    // Without its synchronous replica the old leader cannot acknowledge a commit.
    return yes(`${silent} of ${seen.otherHosts} hosts miss it for ${seen.limitMs} ms`)
  }
  // A Patroni that hung before the loss has let its lease grow old while its PostgreSQL served.
  const isFenced = seen.silentFor.filter((ms) => ms >= FENCED_SILENCE_MS).length >= needed
  if (isFenced && seen.leaseAgeMs !== undefined && seen.leaseAgeMs >= SELF_DEMOTION_MS) {
    return yes(`its lease is ${seen.leaseAgeMs} ms old: it has demoted itself`)
  }
  return no('it may still acknowledge commits: waits until it must have demoted itself')
}
