// Owns which clusters this agent guards: a watch, a sentinel and, where it has a gateway of it, a
// switch and a canary per cluster of the applied spec. A cluster whose part of the spec changed is
// guarded anew; the others are left alone.
import { describeError } from '@howdah/core/errors.ts'
import type { HostSpec, WatchedCluster } from '@howdah/core/host-spec.ts'
import type { GatewayCanary, Unheard } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import { spreadEndpoints, watchCluster } from './dcs/cluster-watch.ts'
import type { EventStore } from './event-store.ts'
import { openLookups } from './gateway/client-lookups.ts'
import { type RunningCanary, startGatewayCanary } from './gateway/gateway-canary.ts'
import type { LastLeaders } from './gateway/last-leaders.ts'
import { type LeaderSwitch, startLeaderSwitch } from './gateway/leader-switch.ts'
import { type ClusterHearing, type Heartbeats, startHeartbeats } from './sentinel/heartbeats.ts'
import { runHostSentinel } from './sentinel/host-sentinel.ts'
import { startInstanceSentinel } from './sentinel/instance-sentinel.ts'
import { pause } from './wake.ts'

const POLL_MS = 1000

interface Guarded {
  definition: string
  gateways: { leaderSwitch: LeaderSwitch; canary: RunningCanary }[]
  hearing: ClusterHearing
  abort: AbortController
  done: Promise<void>
}

export interface ClusterGuard {
  guard(spec: HostSpec): void
  /** The switch of a gateway of this host. */
  findSwitch(gatewayId: string): LeaderSwitch | undefined
  /** All these gateways of the cluster hold their clients; see ClusterHearing. */
  awaitHeld(clusterId: string, gatewayIds: readonly string[], signal: AbortSignal): Promise<void>
  /** Whose heartbeats this host does not hear. */
  unheard(): Unheard[]
  /** What came of the last canary of each gateway of this host that one is expected from. */
  canaries(): GatewayCanary[]
  stop(): Promise<void>
}

interface Needs {
  hostId: string
  /** Of this agent's heartbeats. */
  firstBeat: number
  rootPath: string
  dropTo: { uid: number; gid: number } | undefined
  events: EventStore
  leaders: LastLeaders
  log: Logger
}

export function makeClusterGuard(needs: Needs): ClusterGuard {
  const stop = new AbortController()
  const heartbeats = startHeartbeats(needs.hostId, needs.firstBeat, needs.log, stop.signal)
  let guarded = new Map<string, Guarded>()
  const ending = new Set<Promise<void>>()

  function end(entry: Guarded): void {
    entry.abort.abort()
    ending.add(entry.done)
    void entry.done.finally(() => ending.delete(entry.done))
  }

  return {
    guard(spec) {
      const next = new Map<string, Guarded>()
      for (const cluster of spec.clusters ?? []) {
        const definition = JSON.stringify(cluster)
        const held = guarded.get(cluster.id)
        if (held?.definition === definition) next.set(cluster.id, held)
        else {
          if (held !== undefined) end(held)
          next.set(cluster.id, start(needs, heartbeats, cluster, definition))
        }
      }
      for (const [id, entry] of guarded) {
        if (next.has(id)) continue
        heartbeats.leave(id)
        end(entry)
      }
      guarded = next
    },
    findSwitch(gatewayId) {
      for (const entry of guarded.values()) {
        const found = entry.gateways.find((each) => each.leaderSwitch.gatewayId === gatewayId)
        if (found !== undefined) return found.leaderSwitch
      }
      return undefined
    },
    async awaitHeld(clusterId, gatewayIds, signal) {
      const entry = guarded.get(clusterId)
      if (entry === undefined) throw new Error(`${clusterId} is not guarded here`)
      await entry.hearing.awaitHeld(gatewayIds, signal)
    },
    unheard: heartbeats.unheard,
    canaries: () =>
      [...guarded.values()].flatMap((entry) =>
        entry.gateways.flatMap(({ canary }) => canary.state() ?? []),
      ),
    async stop() {
      for (const entry of guarded.values()) end(entry)
      guarded = new Map()
      stop.abort()
      await Promise.all([...ending, heartbeats.done])
    },
  }
}

/** Calls `onChange` when there is more to report than before, until `signal` aborts. */
export async function watchGuard(
  { unheard, canaries }: Pick<ClusterGuard, 'unheard' | 'canaries'>,
  onChange: () => void,
  signal: AbortSignal,
): Promise<void> {
  let told = '[[],[]]'
  while (!signal.aborted) {
    const found = JSON.stringify([unheard(), canaries()])
    if (found !== told) onChange()
    told = found
    await pause(POLL_MS, signal)
  }
}

function start(
  { hostId, rootPath, dropTo, events, leaders, log: parentLog }: Needs,
  heartbeats: Heartbeats,
  cluster: WatchedCluster,
  definition: string,
): Guarded {
  const abort = new AbortController()
  const { signal } = abort
  const log = parentLog.child({ cluster: cluster.id })
  const watch = watchCluster(spreadEndpoints(cluster, hostId), log, signal)
  const hearing = heartbeats.join(cluster)
  const gateways = cluster.localGateways.map((gateway) => {
    const needs = { cluster, gateway, watch, hearing, rootPath, events, leaders, log, signal }
    const leaderSwitch = startLeaderSwitch(needs)
    const { isHeld } = leaderSwitch
    const wrote = () => openLookups(cluster, gateway)
    const canary = startGatewayCanary({ cluster, gateway, watch, isHeld, wrote, signal })
    return { leaderSwitch, canary }
  })
  const sentinels = cluster.localInstances.map((instance) =>
    startInstanceSentinel({
      cluster,
      instance,
      watch,
      hearing,
      rootPath,
      dropTo,
      events,
      log,
      signal,
    }),
  )
  const parts = [
    watch.done,
    runHostSentinel({ hostId, cluster, watch, hearing, events, log, signal }),
    ...gateways.flatMap(({ leaderSwitch, canary }) => [leaderSwitch.done, canary.done]),
    ...sentinels.map((entry) => entry.done),
  ]
  const done = Promise.all(parts)
    .then(() => undefined)
    .catch((error: unknown) => {
      // BUG: every part handles its own failures; one that does not must not take the agent down.
      log.error({ error: describeError(error) }, 'guarding a cluster failed')
    })
  return { definition, gateways, hearing, abort, done }
}
