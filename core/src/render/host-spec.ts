// Assembles the HostSpec of one host from the dcs and the clusters that touch it. Pure: the same
// input gives the same bytes, so an agent can tell a change from a repetition by comparing files.
import type { HostSpec } from '../host-spec.ts'
import { type RenderedParts, renderEtcd } from './etcd.ts'
import { renderGateway } from './gateway.ts'
import type { RenderClosedGateway, RenderCluster, RenderDcs, RenderHost } from './model.ts'
import { renderPatroni } from './patroni.ts'
import { renderRefusal } from './refusal.ts'
import { renderWatchedCluster } from './watched-cluster.ts'

export function renderHostSpec(
  host: RenderHost,
  revision: number,
  dcs: RenderDcs | undefined,
  clusters: readonly RenderCluster[],
  closed: readonly RenderClosedGateway[] = [],
): HostSpec {
  const parts: RenderedParts[] = []
  if (dcs !== undefined) {
    for (const member of dcs.members) {
      if (member.host.id === host.id) parts.push(renderEtcd(dcs, member))
    }
    for (const cluster of clusters) {
      const instances = cluster.instances.filter((instance) => instance.host.id === host.id)
      const gateways = cluster.gateways.filter((gateway) => gateway.host.id === host.id)
      for (const instance of instances) parts.push(renderPatroni(cluster, instance, dcs))
      for (const gateway of gateways) parts.push(renderGateway(cluster, gateway))
    }
  }
  const refusals = closed
    .filter(({ gateway }) => gateway.host.id === host.id)
    .map((each) => renderRefusal(each))
  return {
    revision,
    hostId: host.id,
    directories: [...new Set(parts.flatMap((part) => part.directories))],
    files: parts.flatMap((part) => part.files),
    services: parts.flatMap((part) => part.services),
    clusters:
      dcs === undefined ? [] : clusters.map((cluster) => renderWatchedCluster(cluster, host, dcs)),
    // An agent that does not know of them yet would refuse the whole spec.
    ...(refusals.length === 0 ? {} : { refusals }),
  }
}
