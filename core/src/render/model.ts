// Owns what the renderers take: one host, the dcs and the clusters that touch it, with secrets
// opened.
import type { ClusterSpec, SizedParameter } from '../contract/clusters.ts'
import type { GatewayPorts } from '../placement.ts'
import type { HostFacts } from '../protocol.ts'
import type { RenderRepository } from './repository.ts'

export interface RenderHost {
  id: string
  name: string
  address: string
  /** Where its outgoing connections may come from, besides `address`. */
  sourceAddresses: readonly string[]
  facts: HostFacts
}

export interface TlsMaterial {
  caPem: string
  certificatePem: string
  keyPem: string
}

export interface RenderDcsMember {
  name: string
  host: RenderHost
  clientPort: number
  peerPort: number
  tls: TlsMaterial
}

export interface RenderDcs {
  caPem: string
  members: readonly RenderDcsMember[]
}

export interface RenderInstance {
  id: string
  name: string
  host: RenderHost
  postgresPort: number
  restPort: number
  tls: TlsMaterial
  /** Open while a backup runs beside one of its replicas. */
  door?: RenderDoor
}

/** Where a leader lets the backup of a replica in. */
export interface RenderDoor {
  port: number
  /** Common name that the other side must prove. */
  client: string
  tls: TlsMaterial
}

export interface RenderGateway {
  id: string
  name: string
  host: RenderHost
  ports: GatewayPorts
  tls: TlsMaterial
}

/** A gateway whose cluster is restored in place, or could not be: its services do not run. */
export interface RenderClosedGateway {
  gateway: RenderGateway
  clusterName: string
  /** The restore, or its undo. */
  operationId: string
  failed: boolean
}

/** Every password of a cluster; all generated, each for one purpose. */
export interface ClusterSecrets {
  superuser: string
  replication: string
  rewind: string
  pooler: string
  gateway: string
  probe: string
  rest: string
  dcs: string
  heartbeat: string
}

export interface RenderCluster {
  id: string
  name: string
  spec: ClusterSpec
  parameters: readonly SizedParameter[]
  caPem: string
  secrets: ClusterSecrets
  /** Where it archives to; undefined while it has no repository. */
  backup: RenderRepository | undefined
  /** All that is placed, also what does not run yet: who is let in, and has a slot. */
  placed: {
    instances: readonly { name: string; host: RenderHost }[]
    gateways: readonly { host: RenderHost }[]
  }
  /** Those that are to run. */
  instances: readonly RenderInstance[]
  gateways: readonly RenderGateway[]
}

/**
 * PostgreSQL roles of the platform. `probe` writes canaries; `gateway` only pauses and
 * resumes.
 */
export const PLATFORM_ROLES = {
  superuser: 'postgres',
  replication: 'howdah_replication',
  rewind: 'howdah_rewind',
  pooler: 'howdah_pooler',
  gateway: 'howdah_gateway',
  probe: 'howdah_probe',
} as const

/** Patroni's namespace; with the scope it makes the prefix that a cluster's etcd user may touch. */
export const DCS_NAMESPACE = '/howdah/'

export function dcsPrefix(clusterId: string): string {
  return `${DCS_NAMESPACE}${clusterId}/`
}

/** `address:port`, with brackets around IPv6. */
export function authority(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** `address/32` or `/128`, as pg_hba wants it. */
export function hostMask(address: string): string {
  return address.includes(':') ? `${address}/128` : `${address}/32`
}
