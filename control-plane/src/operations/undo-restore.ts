// Takes restores in place back: the data that the first of them has set aside serves again, led by
// whoever led it, and the repository forgets what was written meanwhile, as both would claim the
// same timelines. A host that is away does not keep the others from coming back.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { generatePassword } from '@howdah/core/scram.ts'
import { newTimelines, planPutBack, timelinePaths } from '@howdah/core/set-aside.ts'
import { archiveIdOf } from '@howdah/core/wal.ts'
import { type ArchivePlace, archivePlace, listArchiveAt } from '../backups/archive-inventory.ts'
import { askRepository, runRepositoryTask } from '../backups/repository-access.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { listBackups, markDamaged, runSoon, syncBackups } from '../db/backups.ts'
import { findCluster, listInstances } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import { findRepository, findStanzas, type StanzaRow } from '../db/repositories.ts'
import { deleteTakenBack, deleteUndo, findUndo, type UndoRow } from '../db/restore-undo.ts'
import { deleteSecret, ensureSecret } from '../db/secrets.ts'
import { BRING_UP_STEPS, bringUp } from './bring-up.ts'
import { startFirst } from './first-instance.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import {
  asidePath,
  changeData,
  dataPath,
  lookAtData,
  refuseForeign,
  requireRestorable,
  setRestoreState,
} from './restore-cluster.ts'
import { clearDcs, stopAll } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

const FORGET_TIMEOUT_MS = 300_000
const TAKEN_BACK = 'it was taken after a restore that was undone'
const PATRONI_SETTINGS = 'patroni.dynamic.json'

export const undoRestore: OperationDefinition<Record<string, never>> = {
  kind: 'undo-restore',
  steps: [
    { name: 'stop', title: 'closes the endpoints and stops the instances' },
    { name: 'put-back', title: 'puts the data back that was set aside' },
    { name: 'forget', title: 'has the repository forget what was written meanwhile' },
    { name: 'end-undo', title: 'ends the undo' },
    { name: 'clear-dcs', title: 'lets the dcs forget who led' },
    { name: 'start-leader', title: 'starts the instance that led' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    const { step } = operation
    await step('stop', stopPresent)
    const leaderId = await step('put-back', putBack)
    await step('forget', forgetIfReached)
    // From here on the data is the cluster's again, and a further restore would set it aside.
    await step('end-undo', endUndo)
    await step('clear-dcs', fenceAndClear)
    await step('start-leader', async (context) => {
      if (leaderId !== null) return await startFirst(context, leaderId)
      await context.say('nobody led when it was set aside: all start together')
    })
    await bringUp(operation, changeConfiguration, { withoutAway: true })
  },
  async beforeRetry(tx, { operationId, clusterId, done }) {
    if (!done.has('end-undo')) refuseForeign(await findUndo(tx, clusterId), operationId)
    requireRestorable(await findCluster(tx, clusterId))
    await setRestoreState(tx, clusterId, 'restoring', 'the undo is tried again')
  },
  async failed({ database }, clusterId, reason) {
    if ((await findCluster(database, clusterId))?.state !== 'restoring') return
    const said = `the undo failed: ${reason}`
    await database.transaction((tx) => setRestoreState(tx, clusterId, 'failed', said))
  },
}

async function requireUndo(step: StepContext): Promise<UndoRow> {
  const undo = await findUndo(step.database, step.clusterId)
  refuseForeign(undo, step.operationId)
  return undo as UndoRow
}

async function stopPresent(step: StepContext): Promise<void> {
  await requireUndo(step)
  await stopAll(step, 'gateway', { withoutAway: true })
  await stopAll(step, 'instance', { withoutAway: true })
}

/** Returns who led, if its data is back: another one might lack what was written last. */
async function putBack(step: StepContext): Promise<string | null> {
  const undo = await requireUndo(step)
  const hosts = await hostsById(step.database)
  let leaderId: string | null = null
  for (const row of await listInstances(step.database, step.clusterId)) {
    if (hosts.get(row.host_id)?.online !== true) {
      await step.say(`${row.name} is away: it will follow the others`)
      continue
    }
    const plan = planPutBack(await lookAtData(step, row, undo.directory), undo.instances)
    const [from, to] = [asidePath(row, undo.directory), dataPath(row)]
    if (plan !== 'leave') await changeData(step, row, { kind: 'remove-data', path: to })
    if (plan === 'put-back') await changeData(step, row, { kind: 'move-data', from, to })
    // Patroni's copy of what the dcs held may be older than what is wanted now.
    const settings = `${to}/${PATRONI_SETTINGS}`
    if (plan !== 'remove') await changeData(step, row, { kind: 'remove-data', path: settings })
    if (plan !== 'remove' && row.id === undo.leader_id) leaderId = row.id
  }
  return leaderId
}

/**
 * A repository that does not answer must not keep the data from coming back. One that the cluster
 * has left since is asked, too: a replay from there finds its histories first, and would follow
 * what was undone.
 */
async function forgetIfReached(step: StepContext): Promise<void> {
  const undo = await requireUndo(step)
  if (undo.timelines === null) await step.say('nobody knows what was there before: all stays')
  const stanzas = await findStanzas(step.database, step.clusterId)
  for (const stanza of stanzas.filter((each) => isWrittenSince(each, undo))) {
    try {
      await forget(step, undo, await archivePlace(step, stanza))
    } catch (error) {
      if (!(error instanceof HowdahError) || error.code === 'wrong-state') throw error
      await tellNotForgotten(step, stanza, error)
    }
  }
}

/** Whether anything that the undo takes back may have gone there, and may still be read there. */
export function isWrittenSince(
  stanza: Pick<StanzaRow, 'retired_at' | 'expires_at'>,
  undo: Pick<UndoRow, 'created_at'>,
  nowMs = Date.now(),
): boolean {
  if (stanza.expires_at !== null && stanza.expires_at.getTime() <= nowMs) return false
  return stanza.retired_at === null || stanza.retired_at > undo.created_at
}

async function tellNotForgotten(
  { database, clusterId, operationId, say }: StepContext,
  stanza: StanzaRow,
  error: HowdahError,
): Promise<void> {
  const name = (await findRepository(database, stanza.repository_id))?.name
  const then =
    stanza.retired_at === null
      ? 'archiving may stop'
      : 'a fork that begins with a backup there may follow what was undone'
  const message = `the repository ${name} was not cleaned, ${then}: ${error.message}`
  await addEvent(database, { kind: 'archive.not-forgotten', message, clusterId, operationId })
  await say(message)
}

async function forget(step: StepContext, undo: UndoRow, place: ArchivePlace): Promise<void> {
  const { database, clusterId } = step
  const inventory = await listArchiveAt(step, place)
  const timelines = newTimelines(inventory, undo.timelines)
  if (timelines.length === 0) return
  const listNew = async (db: Queryable) =>
    (await listBackups(db, clusterId)).filter(
      ({ repository_id, info }) =>
        repository_id === place.stanza.repository_id && timelines.includes(info.timeline),
    )
  const run = (command: 'expire' | 'repo-rm', options: string[], operands: string[]) =>
    runRepositoryTask(step, place.host.id, FORGET_TIMEOUT_MS, step.operationId, {
      kind: 'pgbackrest',
      repository: place.access,
      command,
      options,
      operands,
    })
  for (const backup of await listNew(database)) {
    // The last full one stays until there is another: it is marked below, and nobody takes it.
    await run('expire', [`--set=${backup.label}`], []).catch(async (error) => {
      await step.say(describeError(error))
    })
  }
  const archive = `archive/${clusterId}/${archiveIdOf(place.stanza.postgres_version)}`
  for (const path of timelinePaths(inventory, timelines)) {
    const isDirectory = !path.endsWith('.history')
    await run('repo-rm', isDirectory ? ['--recurse'] : [], [`${archive}/${path}`])
  }
  const answer = await askRepository(step, place.repository, place, step.operationId)
  await database.transaction(async (tx) => {
    await syncBackups(tx, place.stanza, answer.backups)
    for (const backup of await listNew(tx)) await markDamaged(tx, backup.id, TAKEN_BACK)
  })
}

/** What is left may begin after what was undone, or may be of it: a new chain is begun at once. */
async function endUndo({ database, clusterId, operationId }: StepContext): Promise<void> {
  await database.transaction(async (tx) => {
    const undo = await findUndo(tx, clusterId)
    if (undo?.operation_id === operationId) {
      await deleteTakenBack(tx, undo)
      await deleteUndo(tx, clusterId)
    }
    await runSoon(tx, clusterId, 'full', 0)
  })
}

/** An instance whose host is only cut off from us has the old password: it cannot lead any more. */
async function fenceAndClear(step: StepContext): Promise<void> {
  await clearDcs(step)
  await step.database.transaction(async (tx) => {
    await deleteSecret(tx, step.clusterId, 'dcs')
    await ensureSecret(tx, step.sealer, step.clusterId, 'dcs', generatePassword)
  })
}
