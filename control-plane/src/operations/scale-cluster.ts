// Changes how many instances a cluster has. New ones are placed, started and waited for; the ones
// that leave are drained, never the leader before it has handed over, and their data is removed
// when they are gone. What is on a host that is away is only forgotten.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { ReplicaSource } from '@howdah/core/replica-source.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { askReign, type Reign } from '../clusters/leader-sql.ts'
import {
  deleteInstance,
  findCluster,
  type InstanceRow,
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
import { drain, handOver, preflight, sayHandOver } from './hand-over.ts'
import { type OperationDefinition, type StepContext, unlessPaused } from './operation.ts'
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
    { name: 'wait-replicas', title: 'waits until every replica that stays streams' },
    { name: 'hand-over', title: 'has the leader hand over if it leaves' },
    { name: 'remove-instances', title: 'stops and removes the instances that leave' },
  ].map(unlessPaused),
  async run({ step, input }) {
    await step('place', (context) => place(context, input.remove))
    await step('issue-secrets', issueSecrets)
    await step('seed', (context) => seedReplicas(context, input.source))
    await step('start-instances', async (context) => {
      const { database, clusterId } = context
      await database.transaction((tx) => setActive(tx, 'instance', clusterId, true))
      await touchClusterHosts(context)
    })
    // One that leaves may be the reason: its host is lost, and it will not stream again.
    await step('wait-replicas', (context) =>
      waitReplicas(context, undefined, { leaving: input.remove }),
    )
    await step('hand-over', (context) => handOverIfLeaving(context, input.remove))
    await step('remove-instances', async (context) => {
      for (const name of input.remove) await removeInstance(context, name, input.remove)
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
  if (leaving.length === 0) return
  const { leader } = await askReign(step)
  if (!leaving.includes(leader)) return
  const candidate = await chooseStaying(step, leaving)
  await sayHandOver(step, await handOver(step, leader, candidate))
  await waitReplicas(step, undefined, { leaving })
}

/** In synchronous mode only one of them can take over: the others say why they cannot. */
async function chooseStaying(step: StepContext, leaving: readonly string[]): Promise<string> {
  const rows = await listInstances(step.database, step.clusterId)
  const refusals: string[] = []
  for (const { name } of rows.filter((row) => !leaving.includes(row.name))) {
    try {
      return (await preflight(step, name)).candidate.name
    } catch (error) {
      if (!(error instanceof HowdahError)) throw error
      refusals.push(describeError(error))
    }
  }
  const said = refusals.length === 0 ? 'no instance is left that could lead' : refusals.join('; ')
  throw new HowdahError('wrong-state', said)
}

async function removeInstance(
  step: StepContext,
  name: string,
  leaving: readonly string[],
): Promise<void> {
  const { database, clusterId } = step
  const row = (await listInstances(database, clusterId)).find((each) => each.name === name)
  if (row === undefined) return
  // Stopped by a run of this step that died: whether it led by then, only it can say.
  if (!row.active) await setRunning(step, row, true)
  // Asked for each of them: those before it took minutes, in which the leader may have died.
  await handOverIfLeaving(step, leaving)
  await drain(step, name, true)
  const ended = await stopReplica(step, row)
  if (ended === 'stopped') await removeTraces(step, row)
  else await step.say(`its host is away, and keeps ${HOST_LAYOUT.data}/${row.id} of ${name}`)
  await database.transaction(async (tx) => {
    await releaseInstancePorts(tx, row.id)
    await deleteSecrets(tx, row.id)
    await deleteInstance(tx, row.id)
    await touchHosts(tx, [row.host_id])
  })
  const left = (await findCluster(database, clusterId))?.spec.instances
  await step.say(`${name} is removed; ${left ?? 0} instances are wanted`)
  step.faults.at(`scale-cluster/remove-instances:${name}`)
}

async function setRunning(step: StepContext, row: InstanceRow, running: boolean): Promise<void> {
  await step.database.transaction(async (tx) => {
    await setInstanceActive(tx, row.id, running)
    await touchHosts(tx, [row.host_id])
  })
}

/**
 * Throws, and has it started again, unless it is certain that it did not lead before it ended.
 * `away`: its host will stop it when it is back.
 */
async function stopReplica(step: StepContext, row: InstanceRow): Promise<'stopped' | 'away'> {
  const before = await askReign(step)
  refuseWhoLed(row.name, before, before)
  try {
    await setRunning(step, row, false)
    const ended = await step.until([`report:${row.host_id}`], STOP_TIMEOUT_MS, async () => {
      const host = (await hostsById(step.database)).get(row.host_id)
      await step.say(`stops ${row.name}`)
      if (host?.online !== true) return 'away'
      return host.applied_revision >= host.desired_revision ? 'stopped' : undefined
    })
    const after = await askReign(step)
    refuseWhoLed(row.name, before, after)
    // It could still become the leader: only the agent of its host is away.
    if (ended === 'away' && after.streaming.includes(row.name)) {
      const said = `${row.name} streams, but the agent of its host is away: bring that back`
      throw new HowdahError('wrong-state', said)
    }
    return ended
  } catch (error) {
    await setRunning(step, row, true)
    throw error
  }
}

/**
 * Each change of leader begins a timeline. On the same one, before and after it was stopped, nobody
 * else led meanwhile; on another it may have, and then it alone has what was committed last.
 */
export function refuseWhoLed(
  name: string,
  before: Pick<Reign, 'leader' | 'timeline'>,
  after: Pick<Reign, 'leader' | 'timeline'>,
): void {
  if (before.leader === name) throw new HowdahError('wrong-state', `${name} leads by now`)
  if (after.leader === before.leader && after.timeline === before.timeline) return
  const said = `the leader changed while ${name} was stopped, so its data is kept`
  throw new HowdahError('wrong-state', said)
}

async function removeTraces(step: StepContext, row: InstanceRow): Promise<void> {
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
}
