// Has a cluster archive and be backed up elsewhere. WAL goes to both places until the new one has a
// full backup, so no moment is lost in between; the old one is only read from then on, and removed
// when its time has come. A cluster that had none gets one the same way, with a restart.
import { HowdahError } from '@howdah/core/errors.ts'
import { runRepositoryTask, stanzaOwner } from '../backups/repository-access.ts'
import { hostsById, patroniOf } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { storeSchedules } from '../db/backups.ts'
import { findCluster, listInstances } from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import {
  activateNext,
  activeStanza,
  claimNext,
  deleteStanza,
  expireNext,
  findRepository,
  nextStanza,
} from '../db/repositories.ts'
import { deleteSecrets } from '../db/secrets.ts'
import { closeDoors } from './backup-door.ts'
import { type BackupSource, backupSource, leaderAccess, prepareRepository } from './backup-steps.ts'
import { backUp, policyOf } from './create-backup.ts'
import { endTasks } from './end-tasks.ts'
import type { OperationDefinition, Platform, StepContext } from './operation.ts'
import { ROLLING_RESTART_STEPS, rollingRestart } from './rolling-restart.ts'
import { KEEP_DAYS } from './tear-down.ts'

const APPLIED_TIMEOUT_MS = 120_000
const LIST_TIMEOUT_MS = 60_000
const RESTART_KNOWN_TIMEOUT_MS = 30_000

/** `restart`: it archived nowhere, and PostgreSQL begins to archive only when it starts. */
export interface ChangeRepositoryInput {
  repositoryId: string
  restart: boolean
}

export const changeRepository: OperationDefinition<ChangeRepositoryInput> = {
  kind: 'change-repository',
  lane: 'backup',
  steps: [
    { name: 'prepare', title: 'prepares its place in the new repository' },
    { name: 'archive-there-too', title: 'archives to the new repository, too' },
    ...ROLLING_RESTART_STEPS,
    { name: 'back-up', title: 'takes a full backup there' },
    { name: 'close', title: 'closes the door to the leader' },
    { name: 'switch', title: 'leaves the old repository to readers' },
  ],
  async run(operation) {
    const { step, input } = operation
    await step('prepare', async (context) => {
      await requireNext(context, input)
      const source = await backupSource(context, nextStanza)
      await claimPlace(context, source)
      await prepareRepository(context, source)
    })
    await step('archive-there-too', async (context) => {
      await waitApplied(context)
      if (input.restart) await waitPending(context)
    })
    if (input.restart) await rollingRestart(operation, { kind: 'pending' })
    await step('back-up', async (context) => {
      await requireNext(context, input)
      return backUp(context, { type: 'full' }, nextStanza)
    })
    await step('close', (context) => closeDoors(context, context.clusterId))
    await step('switch', (context) => switchOver(context, input))
  },
  undo: {
    steps: [{ name: 'give-up', title: 'goes on with the old repository alone' }],
    async run({ step }) {
      await step('give-up', async (context) => {
        await endTasks(context)
        await giveUpChange(context, context.clusterId)
      })
    },
  },
  failed: giveUpChange,
}

/** What has gone to the new repository is removed there as anything else whose time has come. */
async function giveUpChange(
  { database }: Pick<Platform, 'database'>,
  clusterId: string,
): Promise<void> {
  await closeDoors({ database }, clusterId)
  await database.transaction(async (tx) => {
    await giveUp(tx, clusterId)
    await touchHosts(
      tx,
      (await listInstances(tx, clusterId)).map(({ host_id }) => host_id),
    )
  })
}

/** What was there before is left alone: it may be the very archive that is in use. */
async function giveUp(tx: Queryable, clusterId: string): Promise<void> {
  const next = await nextStanza(tx, clusterId)
  if (next?.claimed !== false) return expireNext(tx, clusterId)
  await deleteStanza(tx, next)
  await deleteSecrets(tx, stanzaOwner(next))
}

/**
 * Once claimed, always claimed: whoever dies between this and the first write finds the place as
 * his own.
 */
async function claimPlace(step: StepContext, source: BackupSource): Promise<void> {
  if (source.stanza.claimed) return
  const { host } = source.leader
  const { output } = await runRepositoryTask(step, host.id, LIST_TIMEOUT_MS, step.operationId, {
    kind: 'pgbackrest',
    repository: leaderAccess(source),
    command: 'repo-ls',
    options: ['--output=json'],
    operands: [],
  })
  if (!isEmptyListing(output)) {
    const said = `there is something at the place of ${source.cluster.name} already`
    throw new HowdahError('place-taken', said)
  }
  await claimNext(step.database, step.clusterId)
}

/** Of a directory as the program lists it: with a row for itself, or without. */
export function isEmptyListing(output: string): boolean {
  return Object.keys(JSON.parse(output) as Record<string, unknown>).every((name) => name === '.')
}

/** One that was given up is not taken up again by a retry: its place may be removed right now. */
async function requireNext(step: StepContext, input: ChangeRepositoryInput): Promise<void> {
  const next = await nextStanza(step.database, step.clusterId)
  if (next?.repository_id === input.repositoryId) return
  throw new HowdahError('wrong-state', 'this change was given up: ask for it again')
}

/** A host that is away has its files written when it comes back, before it archives anything. */
async function waitApplied(step: StepContext): Promise<void> {
  const { database, clusterId } = step
  const ids = (await listInstances(database, clusterId)).map(({ host_id }) => host_id)
  await database.transaction((tx) => touchHosts(tx, ids))
  const topics = ids.map((id) => `report:${id}`)
  await step.until(topics, APPLIED_TIMEOUT_MS, async () => {
    const hosts = await hostsById(database)
    const late = ids.flatMap((id) => {
      const host = hosts.get(id)
      return host?.online === true && host.applied_revision < host.desired_revision ? [host] : []
    })
    const names = late.map(({ name }) => name).join(', ')
    await step.say(late.length === 0 ? 'every instance knows' : `waits for ${names}`)
    return late.length === 0 ? true : undefined
  })
}

async function waitPending(step: StepContext): Promise<void> {
  const rows = await listInstances(step.database, step.clusterId)
  const topics = rows.map((row) => `report:${row.host_id}`)
  await step.until(topics, RESTART_KNOWN_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const pending = rows.filter((row) => patroniOf(hosts, row)?.pendingRestart === true)
    await step.say(`${pending.length} of ${rows.length} instances know that they must restart`)
    return pending.length === rows.length ? true : undefined
  })
}

async function switchOver(step: StepContext, input: ChangeRepositoryInput): Promise<void> {
  const { database, clusterId } = step
  const active = await activeStanza(database, clusterId)
  if (active?.repository_id !== input.repositoryId) await requireNext(step, input)
  const repository = await findRepository(database, input.repositoryId)
  await database.transaction(async (tx) => {
    const cluster = await findCluster(tx, clusterId)
    if (cluster === undefined) throw new HowdahError('not-found', 'the cluster is gone')
    const policy = policyOf(cluster)
    await activateNext(tx, clusterId, policy.keep_days ?? KEEP_DAYS)
    await storeSchedules(tx, clusterId, policy)
  })
  await waitApplied(step)
  await step.say(`archives to ${repository?.name ?? 'the new repository'}, and only there`)
}
