// Takes a restore in place back: the data that was set aside serves again, and the repository
// forgets what was written meanwhile, as both would claim the same timeline.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { type ArchiveInventory, archiveIdOf, formatSegmentName } from '@howdah/core/wal.ts'
import {
  accessOn,
  askRepository,
  loadRepository,
  placeOn,
  runRepositoryTask,
} from '../backups/repository-access.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { listBackups, markDamaged, runSoon, syncBackups } from '../db/backups.ts'
import { findCluster, listInstances, setClusterState } from '../db/clusters.ts'
import { activeStanza } from '../db/repositories.ts'
import { deleteUndo, findUndo, type UndoRow } from '../db/restore-undo.ts'
import { BRING_UP_STEPS, bringUp } from './bring-up.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { asidePath, changeData, dataPath, isThere, stopCluster } from './restore-cluster.ts'
import { clearDcs } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

const LIST_TIMEOUT_MS = 60_000
const FORGET_TIMEOUT_MS = 300_000
const TAKEN_BACK = 'it was taken after a restore that was undone'

export const undoRestore: OperationDefinition<Record<string, never>> = {
  kind: 'undo-restore',
  steps: [
    { name: 'stop', title: 'closes the endpoints and stops the instances' },
    { name: 'put-back', title: 'puts the data back that was set aside' },
    { name: 'forget', title: 'has the repository forget what was written meanwhile' },
    { name: 'clear-dcs', title: 'lets the dcs forget who led' },
    ...BRING_UP_STEPS,
    { name: 'end-undo', title: 'ends the undo' },
  ],
  async run(operation) {
    const { step } = operation
    await step('stop', stopCluster)
    await step('put-back', putBack)
    await step('forget', forgetIfReached)
    await step('clear-dcs', clearDcs)
    await bringUp(operation, { isNew: false }, changeConfiguration)
    await step('end-undo', endUndo)
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'failed', `the undo failed: ${reason}`),
}

async function requireUndo(step: StepContext): Promise<UndoRow> {
  const undo = await findUndo(step.database, step.clusterId)
  if (undo === undefined) throw new HowdahError('wrong-state', 'there is nothing to undo')
  return undo
}

/** What is not there any more was put back before this step died. */
async function putBack(step: StepContext): Promise<void> {
  const undo = await requireUndo(step)
  for (const row of await listInstances(step.database, step.clusterId)) {
    const aside = asidePath(row, undo.directory)
    if (!(await isThere(step, row, aside))) continue
    await changeData(step, row, { kind: 'remove-data', path: dataPath(row) })
    await changeData(step, row, { kind: 'move-data', from: aside, to: dataPath(row) })
  }
}

/** A repository that does not answer must not keep the data from coming back. */
async function forgetIfReached(step: StepContext): Promise<void> {
  try {
    await forget(step)
  } catch (error) {
    if (!(error instanceof HowdahError) || error.code === 'wrong-state') throw error
    await step.say(`the repository was not cleaned, archiving may stop: ${error.message}`)
  }
}

async function forget(step: StepContext): Promise<void> {
  const undo = await requireUndo(step)
  const { database, sealer, clusterId } = step
  const cluster = await findCluster(database, clusterId)
  const stanza = await activeStanza(database, clusterId)
  const instance = (await listInstances(database, clusterId))[0]
  const host = (await hostsById(database)).get(instance?.host_id ?? '')
  if (cluster === undefined || stanza === undefined || instance === undefined) return
  const repository = await loadRepository(database, sealer, cluster)
  if (repository === undefined || host === undefined) return
  const access = accessOn(repository, placeOn(host, instance.id, instance.postgres_port))
  const run = (command: 'expire' | 'repo-rm', options: string[], operands: string[]) =>
    runRepositoryTask(step, host.id, FORGET_TIMEOUT_MS, step.operationId, {
      kind: 'pgbackrest',
      repository: access,
      command,
      options,
      operands,
    })
  for (const backup of await listBackups(database, clusterId)) {
    if (backup.info.timeline <= undo.timeline) continue
    // The last full one stays until there is another: it is marked below, and nobody takes it.
    await run('expire', [`--set=${backup.label}`], []).catch(async (error) => {
      await step.say(describeError(error))
    })
  }
  const archiveId = archiveIdOf(stanza.postgres_version)
  const inventory = await runRepositoryTask<ArchiveInventory>(
    step,
    host.id,
    LIST_TIMEOUT_MS,
    step.operationId,
    { kind: 'list-archive', repository: access, archiveId },
  )
  const archive = `archive/${clusterId}/${archiveId}`
  for (const path of timelinePaths(inventory, undo.timeline)) {
    const isDirectory = !path.endsWith('.history')
    await run('repo-rm', isDirectory ? ['--recurse'] : [], [`${archive}/${path}`])
  }
  const answer = await askRepository(step, repository, { host, instance }, step.operationId)
  await database.transaction(async (tx) => {
    await syncBackups(tx, stanza, answer.backups)
    for (const backup of await listBackups(tx, clusterId)) {
      if (backup.info.timeline > undo.timeline) await markDamaged(tx, backup.id, TAKEN_BACK)
    }
  })
}

/** What is left may begin after what was undone, or may be of it: a new chain is begun at once. */
async function endUndo({ database, clusterId }: StepContext): Promise<void> {
  await database.transaction(async (tx) => {
    await deleteUndo(tx, clusterId)
    await runSoon(tx, clusterId, 'full', 0)
  })
}

/** Directories of segments and history files of every timeline after that one. */
export function timelinePaths(inventory: ArchiveInventory, after: number): string[] {
  const later = inventory.ranges.filter(({ timeline }) => timeline > after)
  const directories = later.flatMap(({ timeline, first, last }) => {
    const logs: string[] = []
    for (let log = Math.floor(first / 256); log <= Math.floor(last / 256); log += 1) {
      logs.push(formatSegmentName({ timeline, number: log * 256 }).slice(0, 16))
    }
    return logs
  })
  const newest = Math.max(after + 1, ...later.map(({ timeline }) => timeline))
  const histories = Array.from(
    { length: newest - after },
    (_, index) =>
      `${formatSegmentName({ timeline: after + 1 + index, number: 0 }).slice(0, 8)}.history`,
  )
  return [...new Set([...directories, ...histories])]
}
