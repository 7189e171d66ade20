// Owns the steps that end a cluster: shared by deletion and by the undo of a cancelled creation.
// Clients go first, then instances, then what the cluster had in the dcs; the data stays until it
// is purged.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { dcsPrefix } from '@howdah/core/render/model.ts'
import { lookLast } from '../backups/look-last.ts'
import { removeStanza } from '../backups/remove-stanza.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import {
  deleteCluster as deleteClusterRow,
  findCluster,
  type GatewayRow,
  type InstanceRow,
  listGateways,
  listInstances,
  markDeleted,
  releasePorts,
  setActive,
} from '../db/clusters.ts'
import { readDcs, touchHosts } from '../db/hosts.ts'
import { requestCancel, runningOperation } from '../db/operations.ts'
import { findStanzas, retireStanza } from '../db/repositories.ts'
import { deleteSecrets } from '../db/secrets.ts'
import { askAgent } from './agent-task.ts'
import { policyOf } from './create-backup.ts'
import { runDcsTask } from './dcs-access.ts'
import type { OperationContext, StepContext, StepPlan } from './operation.ts'

const STOP_TIMEOUT_MS = 120_000
const REMOVE_TIMEOUT_MS = 300_000
const BACKUP_ENDS_TIMEOUT_MS = 120_000
/** Of a cluster whose policy counts backups and not days. */
export const KEEP_DAYS = 30

export const TEAR_DOWN_STEPS: readonly StepPlan[] = [
  { name: 'stop-gateways', title: 'closes the endpoints' },
  { name: 'stop-instances', title: 'stops the instances' },
  { name: 'clear-dcs', title: 'removes the cluster from the dcs' },
  { name: 'release-ports', title: 'releases the ports' },
  { name: 'remove-backups', title: 'keeps its backups for their time, or removes them' },
  { name: 'remove-data', title: 'removes the data' },
  { name: 'leave-tombstone', title: 'keeps what an undo needs' },
]

/** With `purge` nothing is left; without, rows, secrets and data stay for an undo. */
export async function tearDown<Input>(
  { step }: Pick<OperationContext<Input>, 'step'>,
  { purge, keepBackups = false }: { purge: boolean; keepBackups?: boolean },
): Promise<void> {
  await step('stop-gateways', (context) => stopAll(context, 'gateway'))
  await step('stop-instances', async (context) => {
    if (!purge || keepBackups) await lookLast(context)
    await stopAll(context, 'instance')
  })
  await step('clear-dcs', clearDcs)
  await step('release-ports', ({ database, clusterId }) =>
    database.transaction((tx) => releasePorts(tx, clusterId)),
  )
  if (!purge) {
    await step('leave-tombstone', ({ database, clusterId, config }) =>
      markDeleted(database, clusterId, Number(config.undoDays)),
    )
    return
  }
  await step('remove-backups', (context) => leaveBackups(context, keepBackups))
  await step('remove-data', removeData)
}

/** `withoutAway`: hosts that are away are not waited for; they stop theirs when they return. */
export async function stopAll(
  step: StepContext,
  what: 'instance' | 'gateway',
  { withoutAway = false } = {},
): Promise<void> {
  const hostIds = await step.database.transaction(async (tx) => {
    const ids = await setActive(tx, what, step.clusterId, false)
    await touchHosts(tx, ids)
    return ids
  })
  const topics = hostIds.map((id) => `report:${id}`)
  await step.until(topics, STOP_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const busy = [...new Set(hostIds)]
      .map((id) => hosts.get(id))
      .filter((host) => host !== undefined && host.applied_revision < host.desired_revision)
      .filter((host) => host?.online === true || !withoutAway)
    await step.say(
      busy.length === 0
        ? `every ${what} is stopped`
        : `waits for ${busy.map((host) => host?.name).join(', ')}`,
    )
    return busy.length === 0 ? true : undefined
  })
}

export async function clearDcs(step: StepContext): Promise<void> {
  if ((await readDcs(step.database)).state !== 'available') return
  await runDcsTask(step, (dcs) => ({
    kind: 'dcs-remove-user',
    dcs,
    user: step.clusterId,
    prefix: dcsPrefix(step.clusterId),
  }))
}

/** What services wrote, with the names that the renderers gave them. */
function traces(instances: readonly InstanceRow[], gateways: readonly GatewayRow[]) {
  const { data, run, log } = HOST_LAYOUT
  return [
    ...instances.flatMap((row) =>
      [`${data}/${row.id}`, `${log}/patroni-${row.id}`, `${log}/pgbackrest-${row.id}`].map(
        (path) => ({ row, path }),
      ),
    ),
    ...gateways.flatMap((row) =>
      [
        `${log}/haproxy-${row.id}`,
        `${log}/pgbouncer-write-${row.id}`,
        `${log}/pgbouncer-read-${row.id}`,
        `${run}/${row.id}.sock`,
      ].map((path) => ({ row, path })),
    ),
  ]
}

/** They outlive the cluster, unless whoever deleted it wanted nothing to be left. */
async function leaveBackups(step: StepContext, keep: boolean): Promise<void> {
  const { database, clusterId } = step
  const cluster = await findCluster(database, clusterId)
  if (cluster === undefined) return
  const policy = policyOf(cluster)
  const days = keep ? (policy.keep_days ?? KEEP_DAYS) : 0
  const stanzas = await database.transaction(async (tx) => {
    await retireStanza(tx, clusterId, days)
    return findStanzas(tx, clusterId)
  })
  if (keep) return await step.say(`its backups are kept for ${days} days`)
  // A backup that is still at it would write again what is removed here.
  await step.until([], BACKUP_ENDS_TIMEOUT_MS, async () => {
    const running = await runningOperation(database, clusterId, 'backup')
    if (running === undefined) return true
    await database.transaction((tx) => requestCancel(tx, running))
    await step.say(`waits for the end of ${running}`)
    return undefined
  })
  for (const stanza of stanzas) {
    await removeStanza(step, stanza).catch(async (error) => {
      await step.say(`its backups will be removed later: ${describeError(error)}`)
    })
  }
}

async function removeData(step: StepContext): Promise<void> {
  const { database, clusterId } = step
  const instances = await listInstances(database, clusterId)
  const gateways = await listGateways(database, clusterId)
  await Promise.all(
    traces(instances, gateways).map(({ row, path }) => removePath(step, row.host_id, path)),
  )
  await step.say(`${instances.length} instances and ${gateways.length} gateways are removed`)
  // The row goes last, with its secrets: until then a crash finds everything it needs to go on.
  await database.transaction(async (tx) => {
    for (const owner of [clusterId, ...instances.map((i) => i.id), ...gateways.map((g) => g.id)]) {
      await deleteSecrets(tx, owner)
    }
    await deleteClusterRow(tx, clusterId)
  })
}

async function removePath(step: StepContext, hostId: string, path: string): Promise<void> {
  await step.until([`report:${hostId}`], REMOVE_TIMEOUT_MS, async () => {
    const result = await askAgent(step, {
      hostId,
      operationId: step.operationId,
      timeoutMs: REMOVE_TIMEOUT_MS,
      action: { kind: 'remove-data', path },
    })
    if (result.ok) return true
    // Another cluster changes on the same host: the agent removes nothing while it applies a spec.
    if (result.errorCode !== 'in-use') throw new HowdahError('agent-refused', result.error)
    await step.say(result.error)
    return undefined
  })
}
