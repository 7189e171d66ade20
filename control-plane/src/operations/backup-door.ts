// Owns how a backup is taken beside a replica: which one, and the door that the leader opens to it
// meanwhile. The data is read on the replica's host; through the door come the words that begin and
// end a backup, and the few files that only the leader has.
import { isFollowing } from '@howdah/core/cluster-health.ts'
import { freeDoorPort } from '@howdah/core/placement.ts'
import { issueCertificate } from '../certificates.ts'
import { CANDIDATE_LAG_BYTES_MAX, hostsById, observe, patroniOf } from '../clusters/cluster-view.ts'
import type { Leader } from '../clusters/leader-sql.ts'
import { deleteDoor, doorOwner, insertDoor, listDoors } from '../db/backup-doors.ts'
import { allocatePorts, listInstances, takenPorts } from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import { deleteSecrets, ensureSecret } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { requireAuthority } from './dcs-access.ts'
import type { Platform, StepContext } from './operation.ts'
import { lockPorts } from './place.ts'

const OPEN_TIMEOUT_MS = 30_000
/** Longer than any backup may take. */
const CERTIFICATE_DAYS = 2

/** A place that a backup runs at: an instance with its host. */
export type BackupSeat = Leader

/**
 * One that streams and is not far behind; one that commits wait for only where there is no other.
 */
export async function chooseReplica(
  step: StepContext,
  leader: Leader,
): Promise<BackupSeat | undefined> {
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  const following = new Set(
    observe(hosts, rows)
      .filter(isFollowing)
      .map(({ name }) => name),
  )
  const present = BigInt(patroniOf(hosts, leader.instance)?.walPosition ?? '0')
  const seats = rows.flatMap((instance) => {
    const host = hosts.get(instance.host_id)
    const patroni = patroniOf(hosts, instance)
    if (host === undefined || patroni === undefined || !following.has(instance.name)) return []
    if (host.facts?.programs['pgbackrest'] === undefined) return []
    const lag = present - BigInt(patroni.walPosition ?? '0')
    if (lag > BigInt(CANDIDATE_LAG_BYTES_MAX)) return []
    return [{ seat: { instance, host }, isAwaited: patroni.role === 'sync-replica' }]
  })
  return seats.sort((a, b) => Number(a.isAwaited) - Number(b.isAwaited))[0]?.seat
}

/** Every place of the cluster where a backup may be at work. */
export async function listSeats(step: StepContext): Promise<BackupSeat[]> {
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  return rows.flatMap((instance) => {
    const host = hosts.get(instance.host_id)
    const hasProgram = host?.facts?.programs['pgbackrest'] !== undefined
    return host?.online === true && hasProgram ? [{ instance, host }] : []
  })
}

/** Has the leader let that replica in, and waits until it does. Returns the port. */
export async function openDoor(
  step: StepContext,
  leader: Leader,
  replica: BackupSeat,
): Promise<number> {
  const { database, sealer, clusterId, operationId } = step
  const authority = await requireAuthority(database, sealer, clusterId)
  const { address } = leader.host
  const issued = await issueCertificate(authority, leader.instance.name, [address], {
    days: CERTIFICATE_DAYS,
    // The program knows names only, and takes an address for one.
    addressesAsNames: true,
  })
  await closeDoors(step, clusterId)
  const port = await database.transaction(async (tx) => {
    await lockPorts(tx)
    const taken = (await takenPorts(tx)).get(leader.host.id) ?? new Set()
    const free = freeDoorPort(taken, leader.host.name)
    await allocatePorts(tx, leader.host.id, doorOwner(operationId), [free])
    const owner = doorOwner(operationId)
    await ensureSecret(tx, sealer, owner, SECRET.key, () => issued.keyPem)
    await ensureSecret(tx, sealer, owner, SECRET.certificate, () => issued.certificatePem)
    await insertDoor(tx, {
      operation_id: operationId,
      cluster_id: clusterId,
      instance_id: leader.instance.id,
      host_id: leader.host.id,
      port: free,
      client: replica.instance.name,
    })
    await touchHosts(tx, [leader.host.id])
    return free
  })
  await step.until([`report:${leader.host.id}`], OPEN_TIMEOUT_MS, async () => {
    const host = (await hostsById(database)).get(leader.host.id)
    await step.say(`${leader.instance.name} lets ${replica.instance.name} in`)
    const name = `pgbackrest-${leader.instance.id}`
    const isUp = host?.services.some((service) => service.name === name && service.ready) === true
    const isApplied = host !== undefined && host.applied_revision >= host.desired_revision
    return isApplied && isUp ? true : undefined
  })
  return port
}

/** Closed once this returns, also for whoever is inside; throws `step-timeout` where it is not. */
export async function shutDoors(step: StepContext, leader: Leader): Promise<void> {
  const { database, clusterId } = step
  await closeDoors(step, clusterId)
  await step.until([`report:${leader.host.id}`], OPEN_TIMEOUT_MS, async () => {
    const host = (await hostsById(database)).get(leader.host.id)
    await step.say(`${leader.instance.name} lets nobody in any more`)
    return host !== undefined && host.applied_revision >= host.desired_revision ? true : undefined
  })
}

/** All of the cluster: only one backup runs at a time. */
export async function closeDoors(
  { database }: Pick<Platform, 'database'>,
  clusterId: string,
): Promise<void> {
  await database.transaction(async (tx) => {
    const doors = await listDoors(tx, clusterId)
    for (const door of doors) {
      const owner = doorOwner(door.operation_id)
      await tx.query('delete from port_allocation where owner = $1', [owner])
      await deleteSecrets(tx, owner)
      await deleteDoor(tx, door.operation_id)
    }
    await touchHosts(
      tx,
      doors.map(({ host_id }) => host_id),
    )
  })
}
