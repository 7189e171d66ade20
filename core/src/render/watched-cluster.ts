// Renders what an agent needs to keep a cluster reachable by itself: where its instances are, how
// to follow their leader in the dcs, and which gateways and instances of it are on this host.
import { HOST_LAYOUT, type WatchedCluster } from '../host-spec.ts'
import {
  authority,
  dcsPrefix,
  PLATFORM_ROLES,
  type RenderCluster,
  type RenderDcs,
  type RenderHost,
} from './model.ts'

export function renderWatchedCluster(
  cluster: RenderCluster,
  host: RenderHost,
  dcs: RenderDcs,
): WatchedCluster {
  const members = [...cluster.instances, ...cluster.gateways].map((part) => part.host)
  const peers = new Map(members.map((peer) => [peer.id, peer.address]))
  return {
    id: cluster.id,
    durability: cluster.spec.durability,
    sensitivity: cluster.spec.sensitivity,
    dcs: {
      endpoints: dcs.members.map(
        (member) => `https://${authority(member.host.address, member.clientPort)}`,
      ),
      caPem: dcs.caPem,
      user: cluster.id,
      password: cluster.secrets.dcs,
      prefix: dcsPrefix(cluster.id),
    },
    caPem: cluster.caPem,
    probe: { user: PLATFORM_ROLES.probe, password: cluster.secrets.probe },
    gatewayAdmin: { user: PLATFORM_ROLES.gateway, password: cluster.secrets.gateway },
    heartbeatKey: cluster.secrets.heartbeat,
    peers: [...peers].map(([hostId, address]) => ({ hostId, address })),
    instances: cluster.instances.map((instance) => ({
      name: instance.name,
      hostId: instance.host.id,
      address: instance.host.address,
      postgresPort: instance.postgresPort,
      restPort: instance.restPort,
    })),
    localGateways: cluster.gateways
      .filter((gateway) => gateway.host.id === host.id)
      .map((gateway) => ({
        id: gateway.id,
        name: gateway.name,
        socket: `${HOST_LAYOUT.run}/${gateway.id}.sock`,
        address: gateway.host.address,
        writePort: gateway.ports.write,
        readPort: gateway.ports.read,
      })),
    localInstances: cluster.instances
      .filter((instance) => instance.host.id === host.id)
      .map((instance) => ({
        name: instance.name,
        service: `patroni-${instance.id}`,
        dataDirectory: `${HOST_LAYOUT.data}/${instance.id}/pgdata`,
        binDirectory: host.facts.postgresql[cluster.spec.postgres_version] ?? '/nowhere',
        postgresPort: instance.postgresPort,
      })),
  }
}
