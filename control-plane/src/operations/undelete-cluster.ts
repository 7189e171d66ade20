// Brings a deleted cluster back: new ports where the old ones are taken, then up with the data that
// was kept.
import { placeCluster } from '@howdah/core/placement.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  allocatePorts,
  clearDeleted,
  listGateways,
  listInstances,
  setClusterState,
  setGatewayPorts,
  setInstancePorts,
  takenPorts,
} from '../db/clusters.ts'
import type { HostRow } from '../db/hosts.ts'
import { BRING_UP_STEPS, bringUp } from './bring-up.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { lockPorts } from './place.ts'

export const undeleteCluster: OperationDefinition<Record<string, never>> = {
  kind: 'undelete-cluster',
  steps: [
    { name: 'reserve-ports', title: 'takes its ports again, or others' },
    ...BRING_UP_STEPS,
    { name: 'remove-tombstone', title: 'removes the tombstone' },
  ],
  async run(operation) {
    await operation.step('reserve-ports', reservePorts)
    await bringUp(operation, async () => {})
    await operation.step('remove-tombstone', ({ database, clusterId }) =>
      clearDeleted(database, clusterId),
    )
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'deleted', `bringing it back failed: ${reason}`),
}

async function reservePorts({ database, clusterId }: StepContext): Promise<void> {
  await database.transaction(async (tx) => {
    await lockPorts(tx)
    const hosts = await hostsById(tx)
    for (const instance of await listInstances(tx, clusterId)) {
      const host = hosts.get(instance.host_id) as HostRow
      const wanted = [instance.postgres_port, instance.rest_port]
      if (await holds(tx, host.id, instance.id)) continue
      const taken = (await takenPorts(tx)).get(host.id) ?? new Set()
      if (wanted.every((port) => !taken.has(port))) {
        await allocatePorts(tx, host.id, instance.id, wanted)
        continue
      }
      const placed = placeCluster([onlyHost(host, taken)], { instances: 1, gateways: 0 })
      const { postgresPort, restPort } = placed.instances[0] as (typeof placed.instances)[0]
      await setInstancePorts(tx, instance.id, postgresPort, restPort)
      await allocatePorts(tx, host.id, instance.id, [postgresPort, restPort])
    }
    for (const gateway of await listGateways(tx, clusterId)) {
      const host = hosts.get(gateway.host_id) as HostRow
      if (await holds(tx, host.id, gateway.id)) continue
      const taken = (await takenPorts(tx)).get(host.id) ?? new Set()
      const own = Object.values(gateway.ports)
      if (own.every((port) => !taken.has(port))) {
        await allocatePorts(tx, host.id, gateway.id, own)
        continue
      }
      const placed = placeCluster([onlyHost(host, taken)], { instances: 0, gateways: 1 })
      const { ports } = placed.gateways[0] as (typeof placed.gateways)[0]
      await setGatewayPorts(tx, gateway.id, ports)
      await allocatePorts(tx, host.id, gateway.id, Object.values(ports))
    }
  })
}

function onlyHost(host: HostRow, taken: ReadonlySet<number>) {
  return { id: host.id, name: host.name, role: host.role, load: 0, takenPorts: taken }
}

/** The step ran before, and was not recorded: its ports are its own. */
async function holds(tx: Queryable, hostId: string, owner: string): Promise<boolean> {
  const { rows } = await tx.query<{ port: number }>(
    'select port from port_allocation where host_id = $1 and owner = $2 limit 1',
    [hostId, owner],
  )
  return rows.length > 0
}
