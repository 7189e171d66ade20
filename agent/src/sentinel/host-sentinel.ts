// Owns the watch over the hosts of a cluster's other instances: when a majority does not hear the
// leader's host any more, or that host says that its instance gave up, its leader key is taken
// away, under the rules that make that safe. Runs on every host of the cluster.
import { describeError } from '@howdah/core/errors.ts'
import { judgeSilence, judgeSurrender, SENSITIVITY_LIMITS } from '@howdah/core/failover-rules.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import type { ClusterWatch, LeaderKey } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { pause } from '../wake.ts'
import { answersAsPostgres } from './answering.ts'
import type { ClusterHearing } from './heartbeats.ts'

const ASK_EVERY_MS = 100
/** Part of what clients wait for after a loss. */
const JUDGE_EVERY_MS = 25

export interface HostSentinelNeeds {
  hostId: string
  cluster: WatchedCluster
  watch: ClusterWatch
  hearing: ClusterHearing
  events: EventStore
  log: Logger
  signal: AbortSignal
}

export async function runHostSentinel(needs: HostSentinelNeeds): Promise<void> {
  await Promise.all([judgeLeaderHost(needs), askLeaderHost(needs)])
}

/** The instance that leads, when it is on another host than this. */
function remoteLeader({ watch, cluster, hostId }: HostSentinelNeeds) {
  const name = watch.view()?.leader?.name
  const instance = cluster.instances.find((candidate) => candidate.name === name)
  return instance === undefined || instance.hostId === hostId ? undefined : instance
}

/**
 * A host that falls silent is asked through its PostgreSQL, well before the limit: an agent that is
 * restarted must not cost anybody the leader.
 */
async function askLeaderHost(needs: HostSentinelNeeds): Promise<void> {
  const { cluster, hearing, signal } = needs
  const askAfterMs = SENSITIVITY_LIMITS[cluster.sensitivity].hostSilenceMs / 3
  while (!signal.aborted) {
    await pause(ASK_EVERY_MS, signal)
    const instance = remoteLeader(needs)
    if (instance === undefined || hearing.silentMs(instance.hostId) < askAfterMs) continue
    const answered = await answersAsPostgres(instance.address, instance.postgresPort)
    if (answered) hearing.noteAlive(instance.hostId)
  }
}

async function judgeLeaderHost(needs: HostSentinelNeeds): Promise<void> {
  const { cluster, watch, hearing, signal, log } = needs
  const limitMs = SENSITIVITY_LIMITS[cluster.sensitivity].hostSilenceMs
  let said = ''
  let claim = { revision: '', sinceMs: 0 }
  while (!signal.aborted) {
    await pause(JUDGE_EVERY_MS, signal)
    const view = watch.view()
    const leader = view?.leader
    const instance = remoteLeader(needs)
    if (view === undefined || leader === undefined || instance === undefined) continue
    // A key that is won anew is another claim: taken away again at once, its holder would never
    // learn that it had it, and go on as a leader without a key.
    if (claim.revision !== leader.createRevision) {
      claim = { revision: leader.createRevision, sinceMs: performance.now() }
    }
    const claimedMs = performance.now() - claim.sinceMs
    const silent = Math.min(hearing.silentMs(instance.hostId), claimedMs) >= limitMs
    const gaveUp = hearing.gaveUp(instance.hostId) === leader.createRevision
    if (!silent && !gaveUp) {
      said = ''
      continue
    }
    const seen = {
      durability: cluster.durability,
      syncReplicaKnown: view.syncReplicas.length > 0,
      paused: view.paused,
    }
    const given = gaveUp ? judgeSurrender(seen) : undefined
    // One that gave up and may not lose its claim for that may be silent, too, long enough.
    const verdict =
      given !== undefined && (given.act || !silent)
        ? given
        : judgeSilence({
            ...seen,
            otherHosts: hearing.otherCount,
            silentFor: [
              hearing.silentMs(instance.hostId),
              ...hearing.othersSilentMs(instance.hostId),
            ],
            limitMs,
            leaseAgeMs: cluster.durability === 'async' ? await ageOf(watch, leader) : undefined,
          })
    if (verdict.say !== said) log.warn({ leader: leader.name, act: verdict.act }, verdict.say)
    said = verdict.say
    if (verdict.act) await takeKey(needs, leader, view.syncRevision, verdict.say)
  }
}

async function ageOf(watch: ClusterWatch, leader: LeaderKey): Promise<number | undefined> {
  return watch.leaseAgeMs(leader).catch(() => undefined)
}

/**
 * Several agents come to the same verdict: the comparison lets one of them win, and the others do
 * nothing.
 */
async function takeKey(
  { watch, log, events, cluster }: HostSentinelNeeds,
  leader: LeaderKey,
  syncRevision: string,
  reason: string,
): Promise<void> {
  try {
    // A leader that has dropped its replica since may acknowledge alone: the verdict was of before.
    const deleted = await watch.deleteLeaderKey(leader, syncRevision)
    log.warn({ leader: leader.name, deleted }, 'took the leader key away')
    if (!deleted) return
    await events.add({
      clusterId: cluster.id,
      kind: 'leader-lost',
      instance: leader.name,
      message: reason,
    })
  } catch (error) {
    log.error({ leader: leader.name, error: describeError(error) }, 'cannot reach the dcs')
  }
}
