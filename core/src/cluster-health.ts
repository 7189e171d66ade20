// Owns the verdict on a cluster from what its agents report: available, degraded or failed, in one
// sentence.
import type { ClusterState } from './contract/clusters.ts'
import { type Canary, isLate, sayLate } from './gateway-canary.ts'
import type { PatroniStatus } from './protocol.ts'

export interface ObservedInstance {
  name: string
  /** Undefined when its host is offline or has not reported it. */
  patroni: PatroniStatus | undefined
}

export interface ObservedGateway {
  name: string
  /** Its services do their work, each for itself. */
  ready: boolean
  /** Undefined when its host is offline or says nothing of one. */
  canary?: Canary | undefined
}

export interface Health {
  state: ClusterState
  message: string
}

/**
 * Only for a cluster that should be working: in other states the operation that runs knows better.
 */
export function clusterHealth(
  instances: readonly ObservedInstance[],
  gateways: readonly ObservedGateway[],
): Health {
  const leader = instances.find(isLeading)
  if (leader === undefined) return { state: 'failed', message: 'no instance leads' }
  const ready = gateways.filter((gateway) => gateway.ready)
  if (ready.length === 0) return { state: 'failed', message: 'no gateway is ready' }
  const missing = instances.filter((instance) => instance !== leader && !isFollowing(instance))
  const problems = [
    ...missing.map(({ name, patroni }) => `${name} ${patroni?.state ?? 'is not heard of'}`),
    ...gateways.flatMap(gatewayProblem),
  ]
  if (problems.length > 0) return { state: 'degraded', message: problems.join('; ') }
  const replicas = instances.length - 1
  const following = replicas === 0 ? '' : `, ${replicas} streaming`
  return { state: 'available', message: `${leader.name} leads${following}` }
}

function gatewayProblem({ name, ready, canary }: ObservedGateway): string[] {
  if (!ready) return [`${name} is not ready`]
  return isLate(canary) ? [`${name} ${sayLate(canary)}`] : []
}

function isRunning(patroni: PatroniStatus): boolean {
  return patroni.state === 'running' || patroni.state === 'streaming'
}

/** One that stopped or starts keeps its role in Patroni's answers. */
export function isLeading({ patroni }: ObservedInstance): boolean {
  return patroni?.role === 'leader' && isRunning(patroni)
}

export function isFollowing({ patroni }: ObservedInstance): boolean {
  if (patroni === undefined) return false
  return patroni.role !== 'leader' && patroni.streaming && isRunning(patroni)
}
