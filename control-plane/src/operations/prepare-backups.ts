// Owns the backups of a cluster that is being brought up: its place in the repository is made
// before there is much to archive, and its first backup follows when it is available. A repository
// that does not answer keeps no cluster from being created: the backup says so, loudly.
import { describeError } from '@howdah/core/errors.ts'
import { notifyChange } from '../changes.ts'
import type { Queryable } from '../database.ts'
import { listBackups, runSoon, storeSchedules } from '../db/backups.ts'
import { findCluster } from '../db/clusters.ts'
import { activeStanza, forgetStanzaStatus } from '../db/repositories.ts'
import { backupSource, prepareRepository } from './backup-steps.ts'
import { policyOf } from './create-backup.ts'
import type { StepContext, StepPlan } from './operation.ts'

const PREPARE_TIMEOUT_MS = 10_000

export const PREPARE_BACKUPS_STEP: StepPlan = {
  name: 'prepare-backups',
  title: 'prepares its place in the repository',
}

export async function prepareBackups(step: StepContext): Promise<void> {
  if ((await activeStanza(step.database, step.clusterId)) === undefined) {
    return await step.say('there is no repository: it is not backed up')
  }
  try {
    await prepareRepository(step, await backupSource(step), PREPARE_TIMEOUT_MS)
  } catch (error) {
    await step.say(`its backups are not ready yet: ${describeError(error)}`)
  }
}

/** The first full backup at once, the rest as the policy says. */
export async function scheduleBackups(tx: Queryable, clusterId: string): Promise<void> {
  const cluster = await findCluster(tx, clusterId)
  if (cluster === undefined || (await activeStanza(tx, clusterId)) === undefined) return
  await storeSchedules(tx, clusterId, policyOf(cluster))
  await forgetStanzaStatus(tx, clusterId)
  if ((await listBackups(tx, clusterId)).length > 0) return
  await runSoon(tx, clusterId, 'full', 0)
  await notifyChange(tx, 'schedules')
}
