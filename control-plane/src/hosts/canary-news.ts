// Owns when it becomes an event that a gateway carries no writes, or does again: by what its agent
// reports, and not while the platform itself stops them, or nobody leads, which is told already.
import { GATEWAY_NEWS, gatewayNews, mayBeNews } from '@howdah/core/gateway-canary.ts'
import type { GatewayCanary } from '@howdah/core/protocol.ts'
import { hostsById, leaderOf } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { findCluster, findGateway, listInstances } from '../db/clusters.ts'
import { addEvent, lastEventKind } from '../db/events.ts'
import type { HostRow } from '../db/hosts.ts'
import { runningOperation } from '../db/operations.ts'

/** `host` as it was before this report: most reports say what the one before did. */
export async function tellCanaries(
  tx: Queryable,
  host: Pick<HostRow, 'id' | 'canaries'>,
  canaries: readonly GatewayCanary[],
): Promise<void> {
  for (const canary of canaries) {
    const { gatewayId, silentMs, error } = canary
    const before = host.canaries.find((known) => known.gatewayId === gatewayId)
    if (!mayBeNews(before, canary)) continue
    const gateway = await findGateway(tx, gatewayId)
    // A host cannot tell stories about others.
    if (gateway?.host_id !== host.id) continue
    const { cluster_id: clusterId, name } = gateway
    // A host has one gateway of a cluster at most.
    const told = await lastEventKind(tx, host.id, GATEWAY_NEWS, clusterId)
    const news = gatewayNews(told === 'gateway.broken', name, canary)
    if (news === undefined) continue
    if (news.kind === 'gateway.broken' && !(await shouldWrite(tx, clusterId))) continue
    const data = { gateway: name, silent_ms: silentMs, error }
    await addEvent(tx, { ...news, clusterId, hostId: host.id, data })
  }
}

/** What is not told now is with the next report, should it still be so. */
async function shouldWrite(tx: Queryable, clusterId: string): Promise<boolean> {
  const cluster = await findCluster(tx, clusterId)
  if (cluster?.state !== 'available' || cluster.spec.maintenance) return false
  if ((await runningOperation(tx, clusterId)) !== undefined) return false
  return leaderOf(await hostsById(tx), await listInstances(tx, clusterId)) !== undefined
}
