// Owns where a cluster goes: chooses hosts and ports in one transaction, so two clusters that are
// created at the same time never get the same port.

import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import { placeCluster } from '@howdah/core/placement.ts'
import { generatePassword } from '@howdah/core/scram.ts'
import { INSTANCE_SLOTS_PER_HOST, instanceShare } from '@howdah/core/sizing.ts'
import { createAuthority, issueCertificate, SERVICE_DAYS } from '../certificates.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  findCluster,
  insertPlacement,
  listGateways,
  listInstances,
  setClusterShare,
  takenPorts,
} from '../db/clusters.ts'
import { type HostRow, hostState } from '../db/hosts.ts'
import { ensureSecret } from '../db/secrets.ts'
import { CLUSTER_PASSWORDS, SECRET } from '../hosts/render-input.ts'
import { requireAuthority } from './dcs-access.ts'
import type { StepContext } from './operation.ts'

const LOCK_KEY = 7_340_003

/** Serializes everything that allocates ports until the transaction ends. */
export async function lockPorts(tx: Queryable): Promise<void> {
  await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
}

function usable(hosts: ReadonlyMap<string, HostRow>, version: string): HostRow[] {
  return [...hosts.values()].filter(
    (host) => hostState(host) === 'online' && host.facts?.postgresql[version] !== undefined,
  )
}

/** `leaving`: those that are removed later, and so need somebody in their place. */
export async function place(step: StepContext, leaving: readonly string[] = []): Promise<void> {
  await step.database.transaction(async (tx) => {
    await lockPorts(tx)
    const cluster = await findCluster(tx, step.clusterId)
    if (cluster === undefined) throw new Error('BUG: an operation outlived its cluster')
    const present = await listInstances(tx, cluster.id)
    const staying = present.filter((row) => !leaving.includes(row.name))
    const missing = cluster.spec.instances - staying.length
    const isNew = present.length === 0
    if (missing <= 0) return
    const candidates = usable(await hostsById(tx), cluster.spec.postgres_version)
    const all = [...(await listInstances(tx)), ...(await listGateways(tx))]
    const ports = await takenPorts(tx)
    const placed = placeCluster(
      candidates.map((host) => ({
        id: host.id,
        name: host.name,
        role: host.role,
        load: all.filter((row) => row.host_id === host.id).length,
        ownInstances: present.filter((row) => row.host_id === host.id).length,
        canBackUp: host.facts?.programs['pgbackrest'] !== undefined,
        takenPorts: ports.get(host.id) ?? new Set(),
      })),
      {
        instances: missing,
        gateways: isNew ? cluster.spec.gateways : 0,
        takenNumbers: present.map((row) => row.number),
      },
    )
    const used = new Set(placed.instances.map((instance) => instance.hostId))
    const facts = candidates.flatMap((host) =>
      used.has(host.id) && host.facts !== null ? [host.facts] : [],
    )
    // What an instance may use is decided once: parameters must not change because one more is
    // placed.
    if (isNew) {
      await setClusterShare(tx, cluster.id, instanceShare(facts, INSTANCE_SLOTS_PER_HOST))
    }
    await insertPlacement(tx, cluster, placed)
  })
  const instances = await listInstances(step.database, step.clusterId)
  const hosts = await hostsById(step.database)
  const where = instances.map((row) => `${row.name} on ${hosts.get(row.host_id)?.name ?? '?'}`)
  await step.say(where.join(', '))
}

/** Passwords, the cluster's CA, and a certificate for each instance and gateway. */
export async function issueSecrets(step: StepContext): Promise<void> {
  const { database, sealer, clusterId } = step
  const fresh = await createAuthority(`howdah ${clusterId} ${newId('request')}`)
  await database.transaction(async (tx) => {
    for (const name of CLUSTER_PASSWORDS) {
      await ensureSecret(tx, sealer, clusterId, name, generatePassword)
    }
    await ensureSecret(tx, sealer, clusterId, SECRET.caKey, () => fresh.keyPem)
    await ensureSecret(tx, sealer, clusterId, SECRET.caCertificate, () => fresh.certificatePem)
  })
  const authority = await requireAuthority(database, sealer, clusterId)
  const hosts = await hostsById(database)
  const gateways = await listGateways(database, clusterId)
  const addressOf = (hostId: string): string => {
    const host = hosts.get(hostId)
    if (host === undefined) throw new HowdahError('no-capacity', 'a host of the cluster is gone')
    return host.address
  }
  const gatewayAddresses = gateways.map((gateway) => addressOf(gateway.host_id))
  for (const row of [...(await listInstances(database, clusterId)), ...gateways]) {
    // Direct sessions reach an instance through a gateway's address: it must be in the name list,
    // too.
    const names = [...new Set([addressOf(row.host_id), ...gatewayAddresses, row.name])]
    const issued = await issueCertificate(authority, row.name, names, SERVICE_DAYS)
    await database.transaction(async (tx) => {
      await ensureSecret(tx, sealer, row.id, SECRET.key, () => issued.keyPem)
      await ensureSecret(tx, sealer, row.id, SECRET.certificate, () => issued.certificatePem)
    })
  }
}
