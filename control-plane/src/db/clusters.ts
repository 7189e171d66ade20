// Owns the cluster, instance, gateway and port_allocation tables.
import type { ClusterSpec, ClusterState } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import type { GatewayPorts, PlacedGateway, PlacedInstance } from '@howdah/core/placement.ts'
import type { InstanceShare } from '@howdah/core/sizing.ts'
import { isUniqueViolation, type Queryable } from '../database.ts'

export interface ClusterRow {
  id: string
  name: string
  spec: ClusterSpec
  version: number
  state: ClusterState
  message: string
  share: InstanceShare | null
  created_at: Date
  deleted_at: Date | null
  purge_at: Date | null
}

export interface InstanceRow {
  id: string
  cluster_id: string
  host_id: string
  number: number
  name: string
  postgres_port: number
  rest_port: number
  active: boolean
}

export interface GatewayRow {
  id: string
  cluster_id: string
  host_id: string
  number: number
  name: string
  ports: GatewayPorts
  active: boolean
}

const CLUSTER_COLUMNS =
  'id, name, spec, version, state, message, share, created_at, deleted_at, purge_at'
const INSTANCE_COLUMNS = 'id, cluster_id, host_id, number, name, postgres_port, rest_port, active'
const GATEWAY_COLUMNS = 'id, cluster_id, host_id, number, name, ports, active'

export async function insertCluster(
  tx: Queryable,
  name: string,
  spec: ClusterSpec,
): Promise<ClusterRow> {
  try {
    const { rows } = await tx.query<ClusterRow>(
      `insert into cluster (id, name, spec, state, message)
       values ($1, $2, $3, 'creating', 'waits for its operation') returning ${CLUSTER_COLUMNS}`,
      [newId('cluster'), name, spec],
    )
    return rows[0] as ClusterRow
  } catch (error) {
    if (!isUniqueViolation(error, 'cluster_name_key')) throw error
    throw new HowdahError('name-taken', `there is a cluster ${name} already`, { cause: error })
  }
}

/** By id or name. */
export async function findCluster(
  db: Queryable,
  reference: string,
): Promise<ClusterRow | undefined> {
  const { rows } = await db.query<ClusterRow>(
    `select ${CLUSTER_COLUMNS} from cluster where id = $1 or name = $1`,
    [reference],
  )
  return rows[0]
}

export async function listClusters(
  db: Queryable,
  filter: { after: string; limit: number; deleted: boolean },
): Promise<ClusterRow[]> {
  const { rows } = await db.query<ClusterRow>(
    `select ${CLUSTER_COLUMNS} from cluster
     where id > $1 and (state = 'deleted') = $3 order by id limit $2`,
    [filter.after, filter.limit, filter.deleted],
  )
  return rows
}

/** Tombstones whose undo window has ended. */
export async function listPurgeable(db: Queryable): Promise<ClusterRow[]> {
  const { rows } = await db.query<ClusterRow>(
    `select ${CLUSTER_COLUMNS} from cluster where state = 'deleted' and purge_at < now()`,
  )
  return rows
}

export async function setClusterState(
  db: Queryable,
  id: string,
  state: ClusterState,
  message: string,
): Promise<void> {
  await db.query('update cluster set state = $2, message = $3 where id = $1', [id, state, message])
}

export async function setClusterShare(
  db: Queryable,
  id: string,
  share: InstanceShare,
): Promise<void> {
  await db.query('update cluster set share = $2 where id = $1', [id, share])
}

/** Undefined when the version is not the present one: somebody was faster. */
export async function updateClusterSpec(
  tx: Queryable,
  id: string,
  version: number,
  spec: ClusterSpec,
): Promise<ClusterRow | undefined> {
  const { rows } = await tx.query<ClusterRow>(
    `update cluster set spec = $3, version = version + 1
     where id = $1 and version = $2 returning ${CLUSTER_COLUMNS}`,
    [id, version, spec],
  )
  return rows[0]
}

/** Locks the row until the transaction ends. */
export async function lockCluster(tx: Queryable, id: string): Promise<ClusterRow | undefined> {
  const { rows } = await tx.query<ClusterRow>(
    `select ${CLUSTER_COLUMNS} from cluster where id = $1 for update`,
    [id],
  )
  return rows[0]
}

export async function markDeleted(db: Queryable, id: string, undoDays: number): Promise<void> {
  await db.query(
    `update cluster set state = 'deleted', message = 'deleted; its data is kept until purge_at',
       deleted_at = coalesce(deleted_at, now()),
       purge_at = coalesce(purge_at, now() + make_interval(days => $2)) where id = $1`,
    [id, undoDays],
  )
}

export async function clearDeleted(db: Queryable, id: string): Promise<void> {
  await db.query('update cluster set deleted_at = null, purge_at = null where id = $1', [id])
}

export async function deleteCluster(db: Queryable, id: string): Promise<void> {
  await db.query('delete from cluster where id = $1', [id])
}

export async function listInstances(db: Queryable, clusterId?: string): Promise<InstanceRow[]> {
  const { rows } = await db.query<InstanceRow>(
    `select ${INSTANCE_COLUMNS} from instance where $1::text is null or cluster_id = $1
     order by cluster_id, number`,
    [clusterId ?? null],
  )
  return rows
}

export async function listGateways(db: Queryable, clusterId?: string): Promise<GatewayRow[]> {
  const { rows } = await db.query<GatewayRow>(
    `select ${GATEWAY_COLUMNS} from gateway where $1::text is null or cluster_id = $1
     order by cluster_id, number`,
    [clusterId ?? null],
  )
  return rows
}

export async function findGateway(db: Queryable, id: string): Promise<GatewayRow | undefined> {
  const { rows } = await db.query<GatewayRow>(
    `select ${GATEWAY_COLUMNS} from gateway where id = $1`,
    [id],
  )
  return rows[0]
}

export async function isClusterOnHost(
  db: Queryable,
  clusterId: string,
  hostId: string,
): Promise<boolean> {
  const { rows } = await db.query<{ here: boolean }>(
    `select exists (select 1 from instance where cluster_id = $1 and host_id = $2)
       or exists (select 1 from gateway where cluster_id = $1 and host_id = $2) as here`,
    [clusterId, hostId],
  )
  return rows[0]?.here === true
}

/** Not active yet: a host renders its whole spec at any change, also one for another cluster. */
export async function insertPlacement(
  tx: Queryable,
  cluster: { id: string; name: string },
  placed: { instances: readonly PlacedInstance[]; gateways: readonly PlacedGateway[] },
): Promise<void> {
  for (const instance of placed.instances) {
    const id = newId('instance')
    await tx.query(
      `insert into instance
         (id, cluster_id, host_id, number, name, postgres_port, rest_port, active)
       values ($1, $2, $3, $4, $5, $6, $7, false)`,
      [
        id,
        cluster.id,
        instance.hostId,
        instance.number,
        `${cluster.name}-${instance.number}`,
        instance.postgresPort,
        instance.restPort,
      ],
    )
    await allocatePorts(tx, instance.hostId, id, [instance.postgresPort, instance.restPort])
  }
  for (const gateway of placed.gateways) {
    const id = newId('gateway')
    await tx.query(
      `insert into gateway (id, cluster_id, host_id, number, name, ports, active)
       values ($1, $2, $3, $4, $5, $6, false)`,
      [
        id,
        cluster.id,
        gateway.hostId,
        gateway.number,
        `${cluster.name}-gateway-${gateway.number}`,
        gateway.ports,
      ],
    )
    await allocatePorts(tx, gateway.hostId, id, Object.values(gateway.ports))
  }
}

export async function allocatePorts(
  tx: Queryable,
  hostId: string,
  owner: string,
  ports: readonly number[],
): Promise<void> {
  await tx.query(
    'insert into port_allocation (host_id, port, owner) select $1, unnest($2::int[]), $3',
    [hostId, ports, owner],
  )
}

export async function takenPorts(db: Queryable): Promise<Map<string, Set<number>>> {
  const { rows } = await db.query<{ host_id: string; port: number }>(
    'select host_id, port from port_allocation',
  )
  const taken = new Map<string, Set<number>>()
  for (const { host_id, port } of rows) {
    taken.set(host_id, (taken.get(host_id) ?? new Set()).add(port))
  }
  return taken
}

export async function releasePorts(tx: Queryable, clusterId: string): Promise<void> {
  await tx.query(
    `delete from port_allocation where owner in (
       select id from instance where cluster_id = $1
       union select id from gateway where cluster_id = $1)`,
    [clusterId],
  )
}

/** Inactive services leave the HostSpec, and so are stopped; what is in `data/` stays. */
export async function setActive(
  tx: Queryable,
  what: 'instance' | 'gateway',
  clusterId: string,
  active: boolean,
): Promise<string[]> {
  const { rows } = await tx.query<{ host_id: string }>(
    `update ${what === 'instance' ? 'instance' : 'gateway'} set active = $2
     where cluster_id = $1 returning host_id`,
    [clusterId, active],
  )
  return rows.map((row) => row.host_id)
}

export async function setInstanceActive(tx: Queryable, id: string, active: boolean): Promise<void> {
  await tx.query('update instance set active = $2 where id = $1', [id, active])
}

export async function releaseInstancePorts(tx: Queryable, id: string): Promise<void> {
  await tx.query('delete from port_allocation where owner = $1', [id])
}

export async function deleteInstance(tx: Queryable, id: string): Promise<void> {
  await tx.query('delete from instance where id = $1', [id])
}

export async function setGatewayPorts(
  tx: Queryable,
  id: string,
  ports: GatewayPorts,
): Promise<void> {
  await tx.query('update gateway set ports = $2 where id = $1', [id, ports])
}

export async function setInstancePorts(
  tx: Queryable,
  id: string,
  postgresPort: number,
  restPort: number,
): Promise<void> {
  await tx.query('update instance set postgres_port = $2, rest_port = $3 where id = $1', [
    id,
    postgresPort,
    restPort,
  ])
}
