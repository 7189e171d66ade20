// Changes how many instances a cluster has. New ones are placed, started and waited for; the ones
// that leave are drained, never the leader before it has handed over, and their data is removed
// when they are gone.
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { ReplicaSource } from '@howdah/core/replica-source.ts'
import { hostsById, leaderOf } from '../clusters/cluster-view.ts'
import {
  deleteInstance,
  findCluster,
  listGateways,
  listInstances,
  releaseInstancePorts,
  setActive,
  setClusterState,
  setInstanceActive,
} from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import { deleteSecrets } from '../db/secrets.ts'
import { runTask } from './agent-task.ts'
import { waitReplicas } from './bring-up.ts'
import { drain, handOver, preflight } from './hand-over.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { issueSecrets, place } from './place.ts'
import { seedReplicas } from './seed-replica.ts'

const STOP_TIMEOUT_MS = 120_000
const REMOVE_TIMEOUT_MS = 300_000

export interface ScaleInput {
  remove: string[]
  /** What new instances are made from; what is faster unless given. */
  source?: ReplicaSource
}

export const scaleCluster: OperationDefinition<ScaleInput> = {
  kind: 'scale-cluster',
  steps: [
    { name: 'place', title: 'chooses hosts and ports for new instances' },
    { name: 'issue-secrets', title: 'makes their certificates' },
    { name: 'seed', title: 'gives them data, from a backup where that is faster' },
    { name: 'start-instances', title: 'starts them, and lets the others know' },
    { name: 'wait-replicas', title: 'waits until every replica streams' },
    { name: 'hand-over', title: 'has the leader hand over if it leaves' },
    { name: 'remove-instances', title: 'stops and removes the instances that leave' },
  ],
  async run({ step, input }) {
    await step('place', (context) => place(context, input.remove))
    await step('issue-secrets', issueSecrets)
    await step('seed', (context) => seedReplicas(context, input.source))
    await step('start-instances', async (context) => {
      const { database, clusterId } = context
      await database.transaction((tx) => setActive(tx, 'instance', clusterId, true))
      await touchClusterHosts(context)
    })
    await step('wait-replicas', (context) => waitReplicas(context))
    await step('hand-over', (context) => handOverIfLeaving(context, input.remove))
    await step('remove-instances', async (context) => {
      for (const name of input.remove) await removeInstance(context, name)
      await touchClusterHosts(context)
      await waitReplicas(context)
    })
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'available', `scaling failed: ${reason}`),
}

/** Every host of the cluster: pg_hba and the gateways name all instances. */
async function touchClusterHosts({ database, clusterId }: StepContext): Promise<void> {
  await database.transaction(async (tx) => {
    const parts = [...(await listInstances(tx, clusterId)), ...(await listGateways(tx, clusterId))]
    await touchHosts(
      tx,
      parts.map((part) => part.host_id),
    )
  })
}

async function handOverIfLeaving(step: StepContext, leaving: readonly string[]): Promise<void> {
  const rows = await listInstances(step.database, step.clusterId)
  const leader = leaderOf(await hostsById(step.database), rows)
  if (leader === undefined || !leaving.includes(leader.name)) return
  const staying = rows.filter((row) => !leaving.includes(row.name)).map((row) => row.name)
  let refusal: unknown
  for (const name of staying) {
    try {
      const { candidate } = await preflight(step, name)
      const report = await handOver(step, leader.name, candidate.name)
      await step.say(`${report.to} leads; clients waited ${report.stall_ms} ms at most`)
      return await waitReplicas(step)
    } catch (error) {
      // In synchronous mode only one of them can take over: the others say why they cannot.
      refusal = error
    }
  }
  throw refusal ?? new HowdahError('wrong-state', 'no instance is left that could lead')
}

async function removeInstance(step: StepContext, name: string): Promise<void> {
  const { database, clusterId } = step
  const row = (await listInstances(database, clusterId)).find((each) => each.name === name)
  if (row === undefined) return
  await drain(step, name, true)
  await database.transaction(async (tx) => {
    await setInstanceActive(tx, row.id, false)
    await touchHosts(tx, [row.host_id])
  })
  await step.until([`report:${row.host_id}`], STOP_TIMEOUT_MS, async () => {
    const host = (await hostsById(database)).get(row.host_id)
    await step.say(`stops ${name}`)
    return host !== undefined && host.applied_revision >= host.desired_revision ? true : undefined
  })
  const { data, log } = HOST_LAYOUT
  for (const path of [
    `${data}/${row.id}`,
    `${log}/patroni-${row.id}`,
    `${log}/pgbackrest-${row.id}`,
  ]) {
    await runTask(step, {
      hostId: row.host_id,
      operationId: step.operationId,
      timeoutMs: REMOVE_TIMEOUT_MS,
      action: { kind: 'remove-data', path },
    })
  }
  await database.transaction(async (tx) => {
    await releaseInstancePorts(tx, row.id)
    await deleteSecrets(tx, row.id)
    await deleteInstance(tx, row.id)
  })
  const left = (await findCluster(database, clusterId))?.spec.instances
  await step.say(`${name} is removed; ${left ?? 0} instances are wanted`)
}
