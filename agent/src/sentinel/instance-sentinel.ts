// Owns the watch over one instance of this host: its postmaster, whether it can write, and whether
// this host is cut off. Where the rules say so it fences the instance and takes its leader key
// away, so that the others need not wait for a lease. Patroni and the dcs decide who leads next.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import {
  ISOLATION_FENCE_MS,
  isUnclaimed,
  judgeCanary,
  judgePostmaster,
  SENSITIVITY_LIMITS,
} from '@howdah/core/failover-rules.ts'
import { HOST_LAYOUT, type WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { startStopwatch } from '../stopwatch.ts'
import { pause } from '../wake.ts'
import { type FenceTarget, fence, killPatroni } from './fence.ts'
import { watchFormerLead } from './former-lead.ts'
import type { ClusterHearing } from './heartbeats.ts'
import { askLocally, isInRecovery, type LocalAnswer } from './local-session.ts'
import { watchPromotion } from './lost-promotion.ts'
import { runPatroniWatchdog } from './patroni-watchdog.ts'
import {
  findPostmaster,
  isRunning,
  onlyArchives,
  type PostmasterId,
  wasShutDown,
  wasWritable,
} from './postmaster.ts'
import { tellSurrender } from './surrender.ts'

const POLL_MS = 20
const CANARY_MS = 1000
const ISOLATION_POLL_MS = 250
const STALL_ANSWER_MS = 500
/** A view of the dcs that is older does not say who leads now. */
const FRESH_VIEW_MS = 2000
/** A Patroni that is well demotes within a round or two. */
const DOUBT_MS = 5000

export interface SentinelNeeds {
  cluster: WatchedCluster
  instance: WatchedCluster['localInstances'][number]
  watch: ClusterWatch
  hearing: ClusterHearing
  rootPath: string
  events: EventStore
  log: Logger
  /** Whoever may read the data directory, when the agent is root. */
  dropTo: { uid: number; gid: number } | undefined
  signal: AbortSignal
}

export function startInstanceSentinel(needs: SentinelNeeds): { done: Promise<void> } {
  const { instance, rootPath } = needs
  const target: FenceTarget = {
    name: instance.name,
    serviceDirectory: join(rootPath, HOST_LAYOUT.services, instance.service),
    dataDirectory: join(rootPath, instance.dataDirectory),
  }
  const loops = [
    watchPostmaster(needs, target),
    runCanary(needs, target),
    watchIsolation(needs, target),
    watchClaim(needs, target),
    tellSurrender({ ...needs, isReplica: () => isInRecovery(needs, STALL_ANSWER_MS) }),
    runPatroniWatchdog({ ...needs, ...target }),
  ]
  return { done: Promise.all(loops).then(() => undefined) }
}

/** This instance's claim to lead, as last read from the dcs. */
function ownKey({ watch, instance }: SentinelNeeds) {
  const leader = watch.view()?.leader
  return leader?.name === instance.name ? leader : undefined
}

async function watchPostmaster(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal } = needs
  const { dataDirectory } = target
  const lead = watchFormerLead(needs, dataDirectory)
  const judge = makePostmasterJudge(needs, target)
  let known = findPostmaster(dataDirectory)
  let ended: PostmasterId | undefined
  let stalledMs = 0
  // Its host was lost with it: its Patroni begins when this agent does, or was sooner.
  if (known !== undefined) void lead.began()
  else if (wasWritable(dataDirectory)) void lead.ended()
  while (!signal.aborted) {
    if (stalledMs > ISOLATION_FENCE_MS) await fenceAfterStall(needs, target, stalledMs)
    if (known === undefined || !isRunning(known)) {
      const gone = known
      known = findPostmaster(dataDirectory)
      if (known !== undefined) void lead.began()
      const isNews = gone !== undefined && gone !== ended && wasWritable(dataDirectory)
      // Only a postmaster that was seen alive can be seen to die: one that was never there is
      // starting.
      if (known === undefined && gone !== undefined && !(await judge.died())) known = gone
      ended = gone
      // What is left of it writes until it is fenced, and the others need not wait for a reading.
      if (isNews) void lead.ended()
    } else {
      judge.lives()
      await handOverEarly(needs, target, known)
    }
    // Of the pause alone: what the guard itself waits for is no stall.
    const pausedMs = startStopwatch()
    await pause(POLL_MS, signal)
    stalledMs = pausedMs()
  }
}

/** Judges a postmaster that was seen alive and has ended, and says each verdict once. */
function makePostmasterJudge(needs: SentinelNeeds, target: FenceTarget) {
  const { log, watch, instance } = needs
  let said = ''
  return {
    lives() {
      said = ''
    },
    /** False while it may still have to be acted on. */
    async died(): Promise<boolean> {
      const key = ownKey(needs)
      if (key === undefined) return true
      const view = watch.view()
      const verdict = judgePostmaster({
        alive: false,
        cleanShutdown: wasShutDown(target.dataDirectory),
        holdsLeaderKey: true,
        switchoverPending: view?.failover !== undefined,
        paused: view?.paused === true,
      })
      if (verdict.say !== said) log.warn({ instance: instance.name, act: verdict.act }, verdict.say)
      said = verdict.say
      if (!verdict.act) return false
      if (verdict.fence) await fence(target, verdict.say, log)
      await release(needs, key)
      if (verdict.fence) tellLoss(needs, verdict.say)
      return true
    },
  }
}

/** A switchover need not wait until the former leader has archived its last segment. */
async function handOverEarly(
  needs: SentinelNeeds,
  target: FenceTarget,
  postmaster: PostmasterId,
): Promise<void> {
  const { watch, instance, log, signal } = needs
  const key = ownKey(needs)
  if (key === undefined || watch.view()?.failover === undefined) return
  if (!onlyArchives(target.dataDirectory, postmaster)) return
  log.warn({ instance: instance.name }, 'the leader was shut down, and still archives')
  await release(needs, key)
  while (isRunning(postmaster) && !signal.aborted) await pause(POLL_MS, signal)
}

/** No guard waits for the disk: the next fault may come sooner. */
function tellLoss({ events, cluster, instance, log }: SentinelNeeds, reason: string): void {
  events
    .add({ clusterId: cluster.id, instance: instance.name, kind: 'leader-lost', message: reason })
    .catch((error: unknown) => {
      log.error({ instance: instance.name, error: describeError(error) }, 'cannot tell the loss')
    })
}

/**
 * This very process did not run for longer than a lease may be trusted: the host was frozen or
 * suspended, and others may lead by now. PostgreSQL woke up with us and answers its old sessions,
 * so it is fenced unless the dcs says that it still leads.
 */
async function fenceAfterStall(
  needs: SentinelNeeds,
  target: FenceTarget,
  stalledMs: number,
): Promise<void> {
  if (ownKey(needs) === undefined || needs.watch.view()?.paused === true) return
  const answered = await needs.watch.refresh(STALL_ANSWER_MS)
  if (answered && ownKey(needs) !== undefined) return
  const reason = `this host did not run for ${Math.round(stalledMs)} ms`
  await fence(target, reason, needs.log)
  tellLoss(needs, reason)
}

async function release(
  { watch, log, instance }: SentinelNeeds,
  key: NonNullable<ReturnType<typeof ownKey>>,
): Promise<void> {
  try {
    const deleted = await watch.deleteLeaderKey(key)
    log.warn({ instance: instance.name, deleted }, 'took the leader key away')
  } catch (error) {
    // The lease runs out by itself: the failover is later, not lost.
    log.error({ instance: instance.name, error: describeError(error) }, 'cannot reach the dcs')
  }
}

/**
 * A new session writes a row, without waiting for replicas: what is tried is this host. A
 * postmaster that is frozen, or a disk that hangs, answers health checks and old sessions for
 * hours.
 */
async function runCanary(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, log, instance, cluster, watch } = needs
  const limitMs = SENSITIVITY_LIMITS[cluster.sensitivity].canaryMs
  const promotion = watchPromotion(needs, target)
  let claim: string | undefined
  let claimedMs = 0
  let healthyMs = 0
  let wrote = false
  while (!signal.aborted) {
    const startedMs = performance.now()
    const key = ownKey(needs)
    const leads = key !== undefined && findPostmaster(target.dataDirectory) !== undefined
    const held = leads && watch.view()?.paused !== true ? key : undefined
    if (held?.createRevision !== claim) {
      claim = held?.createRevision
      claimedMs = startedMs
      healthyMs = startedMs
      wrote = false
    }
    const said = held && (await tryToWrite(needs, Math.min(limitMs, 3000)))
    // An answer, even a refusal, is life: only silence and a lost connection count against it.
    if (said !== undefined && said !== 'silence') {
      healthyMs = performance.now()
      wrote = true
    }
    // A view that is older may be of a key that ran out: then its Patroni demoted it.
    const isHeld = held !== undefined && watch.silentMs() < FRESH_VIEW_MS
    if (isHeld && said === 'refusal') await promotion.refused(held.createRevision)
    else promotion.accepted()
    const nowMs = performance.now()
    const [heldMs, silentMs] = [nowMs - claimedMs, nowMs - healthyMs]
    const verdict = judgeCanary({ wrote, heldMs, silentMs, limitMs })
    if (held !== undefined && verdict.act) {
      await fence(target, verdict.say, log)
      await release(needs, held)
      tellLoss(needs, verdict.say)
      claim = undefined
    }
    await pause(Math.max(50, CANARY_MS - (performance.now() - startedMs)), signal)
  }
  log.debug({ instance: instance.name }, 'canary stopped')
}

async function tryToWrite(needs: SentinelNeeds, timeoutMs: number): Promise<LocalAnswer['kind']> {
  const { kind } = await askLocally(
    needs,
    timeoutMs,
    `insert into howdah.canary as c (gateway, written_at, sequence) values ($1, now(), 1)
     on conflict (gateway) do update set written_at = now(), sequence = c.sequence + 1`,
    [needs.instance.name],
  )
  return kind
}

/**
 * A leader that is cut off. From dcs and peers: before another host may conclude that it has
 * stopped, it has; that deadline counts on our own clock only, and needs nobody's answer. From its
 * peers alone, which took its claim away: its Patroni, which still reaches the dcs, would only
 * claim it again, and no client could get here.
 */
async function watchIsolation(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, watch, hearing } = needs
  let claim: string | undefined
  while (!signal.aborted) {
    await pause(ISOLATION_POLL_MS, signal)
    const key = ownKey(needs)
    const lost = claim !== undefined && key?.createRevision !== claim
    claim = key?.createRevision
    const alone = hearing.otherCount > 0 && hearing.heardCount() < hearing.otherCount / 2
    if (!alone || watch.view()?.paused === true) continue
    if (findPostmaster(target.dataDirectory) === undefined) continue
    if (lost) {
      await stepDown(needs, target, 'no other host is heard, and they took its claim away')
      continue
    }
    const silentMs = watch.silentMs()
    if (key === undefined || silentMs < ISOLATION_FENCE_MS || !Number.isFinite(silentMs)) continue
    await stepDown(needs, target, `cut off from dcs and peers for ${Math.round(silentMs)} ms`)
  }
}

async function stepDown(needs: SentinelNeeds, target: FenceTarget, reason: string): Promise<void> {
  await fence(target, reason, needs.log)
  const key = ownKey(needs)
  if (key !== undefined && needs.watch.silentMs() < FRESH_VIEW_MS) await release(needs, key)
  tellLoss(needs, reason)
}

/**
 * This instance accepts writes, and the dcs says that another leads, or nobody: its Patroni hangs,
 * or does not know. What another leads is fenced; where nobody does, a new Patroni takes the lead.
 */
async function watchClaim(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, watch, instance, log } = needs
  let claim = ''
  let sinceMs = performance.now()
  while (!signal.aborted) {
    await pause(CANARY_MS, signal)
    const view = watch.silentMs() < FRESH_VIEW_MS ? watch.view() : undefined
    const leader = view?.leader
    const doubtful =
      view !== undefined &&
      isUnclaimed(view, instance.name) &&
      findPostmaster(target.dataDirectory) !== undefined &&
      (await isInRecovery(needs, CANARY_MS)) === false
    const now = doubtful ? (leader?.createRevision ?? 'nobody') : ''
    if (now === '' || now !== claim) {
      claim = now
      sinceMs = performance.now()
      continue
    }
    if (performance.now() - sinceMs < DOUBT_MS) continue
    claim = ''
    if (leader === undefined) {
      await killPatroni(target, 'accepts writes, and nobody leads', log)
      continue
    }
    const reason = `${leader.name} leads, and this one still accepts writes`
    await fence(target, reason, log)
    tellLoss(needs, reason)
  }
}
