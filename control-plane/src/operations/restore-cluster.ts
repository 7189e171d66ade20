// Takes a cluster back to a moment, in place: clients are refused meanwhile, and what there was is
// set aside on each host until the undo window ends.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import { type InstanceRow, listInstances, setClusterState } from '../db/clusters.ts'
import { findUndo, insertUndo } from '../db/restore-undo.ts'
import { askAgent } from './agent-task.ts'
import { BRING_UP_STEPS, bringUp } from './bring-up.ts'
import { firstInstance, ownPasswords, startFirst } from './fork-cluster.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { archivePresent, fetchBackup, type RecoveryInput, replay } from './recover-steps.ts'
import { clearDcs, stopAll } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

const DATA_TIMEOUT_MS = 300_000

export const restoreCluster: OperationDefinition<RecoveryInput> = {
  kind: 'restore-cluster',
  steps: [
    { name: 'archive-present', title: 'archives what was written last' },
    { name: 'remember', title: 'keeps what an undo needs' },
    { name: 'stop', title: 'closes the endpoints and stops the instances' },
    { name: 'set-aside', title: 'sets the present data aside' },
    { name: 'fetch', title: 'fetches the backup' },
    { name: 'replay', title: 'replays WAL up to the moment' },
    { name: 'clear-dcs', title: 'lets the dcs forget who led' },
    { name: 'start-leader', title: 'starts the instance that has the data' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    const { step, input } = operation
    const minimumLsn = await step('archive-present', archiveIfAlive)
    await step('remember', remember)
    await step('stop', stopCluster)
    await step('set-aside', setAside)
    await step('fetch', async (context) =>
      fetchBackup(context, input, await firstInstance(context)),
    )
    await step('replay', async (context) => {
      const statements = await ownPasswords(context)
      const at = await firstInstance(context)
      await replay(context, input, at, { statements, amcheck: false, minimumLsn })
    })
    await step('clear-dcs', clearDcs)
    await step('start-leader', startFirst)
    await bringUp(operation, { isNew: false }, changeConfiguration)
  },
  failed: ({ database }, clusterId, reason) => {
    const said = `the restore failed: ${reason}; howdah restore undo brings back what was there`
    return setClusterState(database, clusterId, 'failed', said)
  },
}

async function archiveIfAlive(step: StepContext): Promise<string | null> {
  const rows = await listInstances(step.database, step.clusterId)
  const leader = leaderOf(await hostsById(step.database), rows)
  if (leader === undefined) {
    await step.say('nobody leads: what is archived is there')
    return null
  }
  return await archivePresent(step, step.clusterId).catch(async (error) => {
    await step.say(`goes on with what is archived: ${describeError(error)}`)
    return null
  })
}

/** Where the data goes, and the timeline that it is on: an undo forgets what came after. */
async function remember(step: StepContext): Promise<void> {
  const before = await findUndo(step.database, step.clusterId)
  if (before !== undefined && before.operation_id !== step.operationId) {
    for (const row of await listInstances(step.database, step.clusterId)) {
      await changeData(step, row, { kind: 'remove-data', path: asidePath(row, before.directory) })
    }
  }
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  const timelines = rows.map((row) => patroniOf(hosts, row)?.timeline ?? 0)
  await insertUndo(step.database, {
    clusterId: step.clusterId,
    operationId: step.operationId,
    directory: `before_${step.operationId}`,
    timeline: Math.max(...timelines),
    keepDays: Number(step.config.undoDays),
  })
}

export async function stopCluster(step: StepContext): Promise<void> {
  await stopAll(step, 'gateway')
  await stopAll(step, 'instance')
}

export const asidePath = (row: InstanceRow, directory: string) =>
  `${HOST_LAYOUT.data}/${row.id}/${directory}`
export const dataPath = (row: InstanceRow) => `${HOST_LAYOUT.data}/${row.id}/pgdata`

/** A replica that was being made has none yet: nothing is kept of it. */
async function setAside(step: StepContext): Promise<void> {
  const undo = await findUndo(step.database, step.clusterId)
  if (undo === undefined) throw new Error('BUG: the undo is remembered before the data moves')
  for (const row of await listInstances(step.database, step.clusterId)) {
    if (await isThere(step, row, asidePath(row, undo.directory))) continue
    if (!(await isThere(step, row, dataPath(row)))) continue
    const to = asidePath(row, undo.directory)
    await changeData(step, row, { kind: 'move-data', from: dataPath(row), to })
  }
}

export async function isThere(step: StepContext, row: InstanceRow, path: string): Promise<boolean> {
  const result = await askAgent(step, {
    hostId: row.host_id,
    operationId: step.operationId,
    timeoutMs: DATA_TIMEOUT_MS,
    action: { kind: 'measure-data', path },
  })
  if (!result.ok) throw new HowdahError('agent-refused', result.error)
  return (result.value as { bytes: number }).bytes > 0
}

/** The agent changes nothing while it applies a spec: then it is asked again. */
export async function changeData(
  step: StepContext,
  row: InstanceRow,
  action: TaskAction,
): Promise<void> {
  await step.until([`report:${row.host_id}`], DATA_TIMEOUT_MS, async () => {
    const result = await askAgent(step, {
      hostId: row.host_id,
      operationId: step.operationId,
      timeoutMs: DATA_TIMEOUT_MS,
      action,
    })
    if (result.ok) return true
    if (result.errorCode !== 'in-use') throw new HowdahError('agent-refused', result.error)
    await step.say(result.error)
    return undefined
  })
}
