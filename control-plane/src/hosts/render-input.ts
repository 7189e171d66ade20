// Owns how the database's rows become what the renderers take, with secrets opened.
import type { ClusterSpec, SizedParameter } from '@howdah/core/contract/clusters.ts'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import { parseParameters } from '@howdah/core/parameters.ts'
import { renderHostSpec } from '@howdah/core/render/host-spec.ts'
import type {
  ClusterSecrets,
  RenderClosedGateway,
  RenderCluster,
  RenderDcs,
  RenderDoor,
  RenderHost,
  TlsMaterial,
} from '@howdah/core/render/model.ts'
import { clusterParameters, type InstanceShare } from '@howdah/core/sizing.ts'
import { loadArchiving } from '../backups/repository-access.ts'
import type { Queryable } from '../database.ts'
import { doorOwner, listOpenDoors } from '../db/backup-doors.ts'
import { findCluster, type GatewayRow, listGateways, listInstances } from '../db/clusters.ts'
import { findHost, type HostRow, listHosts, readDcs } from '../db/hosts.ts'
import { listClosedClusters } from '../db/restore-undo.ts'
import { readSecret, readSecrets } from '../db/secrets.ts'
import type { Sealer } from '../sealing.ts'

/** Names of the secrets; the owners are `platform`, `dcs`, a cluster, an instance or a gateway. */
export const SECRET = {
  caCertificate: 'ca-certificate',
  caKey: 'ca-key',
  certificate: 'certificate',
  key: 'key',
} as const

export const CLUSTER_PASSWORDS = [
  'superuser',
  'replication',
  'rewind',
  'pooler',
  'gateway',
  'probe',
  'rest',
  'dcs',
  'heartbeat',
] as const satisfies readonly (keyof ClusterSecrets)[]

export function dcsMemberOwner(hostId: string): string {
  return `dcs:${hostId}`
}

/** The parameters of a cluster, each with its reason. */
export function parametersOf(spec: ClusterSpec, share: InstanceShare): SizedParameter[] {
  return clusterParameters(share, parseParameters(spec.parameters))
}

export function toRenderHost(row: HostRow): RenderHost {
  if (row.facts === null) throw new Error(`BUG: host ${row.name} has no facts, but things to run`)
  return {
    id: row.id,
    name: row.name,
    address: row.address,
    sourceAddresses: row.source_addresses,
    facts: row.facts,
  }
}

async function readTls(
  db: Queryable,
  sealer: Sealer,
  owner: string,
  caPem: string,
): Promise<TlsMaterial | undefined> {
  const secrets = await readSecrets(db, sealer, owner)
  const certificatePem = secrets.get(SECRET.certificate)
  const keyPem = secrets.get(SECRET.key)
  if (certificatePem === undefined || keyPem === undefined) return undefined
  return { caPem, certificatePem, keyPem }
}

async function loadDcs(
  db: Queryable,
  sealer: Sealer,
  hosts: ReadonlyMap<string, HostRow>,
): Promise<RenderDcs | undefined> {
  const dcs = await readDcs(db)
  const caPem = await readSecret(db, sealer, 'platform', SECRET.caCertificate)
  if (dcs.state === 'none' || caPem === undefined) return undefined
  const members: RenderDcs['members'][number][] = []
  for (const row of dcs.members) {
    const tls = await readTls(db, sealer, dcsMemberOwner(row.host_id), caPem)
    const host = hosts.get(row.host_id)
    // Certificates are made for all members at once, by a step before the hosts are touched.
    if (tls === undefined || host?.facts == null) return undefined
    members.push({
      name: row.name,
      host: toRenderHost(host),
      clientPort: row.client_port,
      peerPort: row.peer_port,
      tls,
    })
  }
  return { caPem, members }
}

/** By the instance that opens it. */
async function loadDoors(
  db: Queryable,
  sealer: Sealer,
  clusterId: string,
  caPem: string,
): Promise<Map<string, { door: RenderDoor }>> {
  const doors = new Map<string, { door: RenderDoor }>()
  for (const row of await listOpenDoors(db, clusterId)) {
    const tls = await readTls(db, sealer, doorOwner(row.operation_id), caPem)
    if (tls === undefined) continue
    doors.set(row.instance_id, { door: { port: row.port, client: row.client, tls } })
  }
  return doors
}

/** Undefined while its secrets are not made: nothing of it is rendered yet. */
export async function loadRenderCluster(
  db: Queryable,
  sealer: Sealer,
  clusterId: string,
  hosts: ReadonlyMap<string, HostRow>,
): Promise<RenderCluster | undefined> {
  const cluster = await findCluster(db, clusterId)
  if (cluster === undefined || cluster.share === null) return undefined
  const secrets = await readSecrets(db, sealer, cluster.id)
  const caPem = secrets.get(SECRET.caCertificate)
  if (caPem === undefined || CLUSTER_PASSWORDS.some((name) => !secrets.has(name))) return undefined
  const hostOf = (id: string) => toRenderHost(hosts.get(id) as HostRow)
  const doors = await loadDoors(db, sealer, cluster.id, caPem)
  const instances: RenderCluster['instances'][number][] = []
  for (const row of await listInstances(db, cluster.id)) {
    const tls = await readTls(db, sealer, row.id, caPem)
    if (tls === undefined) return undefined
    instances.push({
      id: row.id,
      name: row.name,
      host: hostOf(row.host_id),
      postgresPort: row.postgres_port,
      restPort: row.rest_port,
      tls,
      ...doors.get(row.id),
    })
  }
  const gateways: RenderCluster['gateways'][number][] = []
  for (const row of await listGateways(db, cluster.id)) {
    const tls = await readTls(db, sealer, row.id, caPem)
    if (tls === undefined) return undefined
    gateways.push({ id: row.id, name: row.name, host: hostOf(row.host_id), ports: row.ports, tls })
  }
  return {
    id: cluster.id,
    name: cluster.name,
    spec: cluster.spec,
    parameters: parametersOf(cluster.spec, cluster.share),
    caPem,
    secrets: Object.fromEntries(
      CLUSTER_PASSWORDS.map((name) => [name, secrets.get(name)]),
    ) as unknown as ClusterSecrets,
    backup: await loadArchiving(db, sealer, cluster),
    placed: { instances, gateways },
    instances,
    gateways,
  }
}

/** Of gateways that do not run, those where clients are told why. */
async function loadClosedGateways(
  db: Queryable,
  sealer: Sealer,
  host: RenderHost,
  gateways: readonly GatewayRow[],
): Promise<RenderClosedGateway[]> {
  const closed: RenderClosedGateway[] = []
  if (gateways.length === 0) return closed
  const clusters = new Map((await listClosedClusters(db)).map((row) => [row.cluster_id, row]))
  for (const { id, cluster_id, name, ports } of gateways) {
    const cluster = clusters.get(cluster_id)
    if (cluster === undefined) continue
    const caPem = await readSecret(db, sealer, cluster_id, SECRET.caCertificate)
    const tls = await readTls(db, sealer, id, caPem ?? '')
    if (tls === undefined) continue
    closed.push({
      gateway: { id, name, host, ports, tls },
      clusterName: cluster.name,
      operationId: cluster.operation_id,
      failed: cluster.failed,
    })
  }
  return closed
}

/**
 * The HostSpec of a host as of now; its revision is read first, so a change in between is fetched
 * next time.
 */
export async function loadHostSpec(
  db: Queryable,
  sealer: Sealer,
  hostId: string,
): Promise<HostSpec | undefined> {
  const host = await findHost(db, hostId)
  if (host === undefined || host.facts === null) return undefined
  const hosts = new Map((await listHosts(db)).map((row) => [row.id, row]))
  const activeInstances = (await listInstances(db)).filter((row) => row.active)
  const gateways = await listGateways(db)
  const activeGateways = gateways.filter((row) => row.active)
  const here = [...activeInstances, ...activeGateways].filter((row) => row.host_id === hostId)
  const activeIds = new Set([...activeInstances, ...activeGateways].map((row) => row.id))
  const clusters: RenderCluster[] = []
  for (const clusterId of [...new Set(here.map((row) => row.cluster_id))]) {
    const cluster = await loadRenderCluster(db, sealer, clusterId, hosts)
    if (cluster === undefined) continue
    clusters.push({
      ...cluster,
      instances: cluster.instances.filter((instance) => activeIds.has(instance.id)),
      gateways: cluster.gateways.filter((gateway) => activeIds.has(gateway.id)),
    })
  }
  const dcs = await loadDcs(db, sealer, hosts)
  const rendered = toRenderHost(host)
  const idle = gateways.filter((row) => row.host_id === hostId && !row.active)
  const closed = await loadClosedGateways(db, sealer, rendered, idle)
  return renderHostSpec(rendered, host.desired_revision, dcs, clusters, closed)
}
