// Owns how a new replica gets its data from a backup: fetched and replayed by the agent before its
// Patroni starts, up to a moment that the leader has just archived. What came since is streamed.
// Patroni never hears of the repository, so no failover can ask it (decision 008). Whatever goes
// wrong, nothing is left, and the replica is copied from its leader.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { chooseReplicaSource, type ReplicaSource } from '@howdah/core/replica-source.ts'
import { isOnHistory, parseStatus } from '../backups/archive-status.ts'
import { describePlan } from '../backups/restore-plan.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { runOnLeader, statement } from '../clusters/leader-sql.ts'
import { type BackupRow, listBackups } from '../db/backups.ts'
import { findCluster, type InstanceRow, listInstances } from '../db/clusters.ts'
import { activeStanza } from '../db/repositories.ts'
import { lackingRoom } from './first-instance.ts'
import type { StepContext } from './operation.ts'
import {
  archivePresent,
  fetchBackup,
  type RecoveryInput,
  type RecoveryPlaceOnHost,
  replayAsReplica,
} from './recover-steps.ts'
import { changeData } from './restore-cluster.ts'

/** Of instances that are placed and were never started. */
export async function seedReplicas(
  step: StepContext,
  wish: ReplicaSource | undefined,
): Promise<void> {
  const fresh = (await listInstances(step.database, step.clusterId)).filter((row) => !row.active)
  if (fresh.length === 0) return
  const backup = await soundBackup(step)
  const { from, why } = chooseReplicaSource({ wish, backup: await judged(step, backup) })
  const names = fresh.map(({ name }) => name).join(', ')
  if (from === 'leader' || backup === undefined) {
    // What an earlier run of this step began with would be taken for an instance's data.
    for (const row of fresh) await removeSeed(step, row)
    return await step.say(`${names}: copied from the leader: ${why}`)
  }
  for (const [index, row] of fresh.entries()) {
    try {
      await seedOne(step, row, backup)
    } catch (error) {
      if (!(error instanceof HowdahError)) throw error
      for (const unseeded of fresh.slice(index)) await removeSeed(step, unseeded)
      return await step.say(`${row.name}: copied from the leader: ${describeError(error)}`)
    }
  }
  await step.say(`${names}: from backup ${backup.label}: ${why}`)
}

async function soundBackup(step: StepContext): Promise<BackupRow | undefined> {
  const stanza = await activeStanza(step.database, step.clusterId)
  const status = parseStatus(stanza?.status)
  return (await listBackups(step.database, step.clusterId)).find(
    (row) =>
      row.damage === '' &&
      row.repository_id === stanza?.repository_id &&
      isOnHistory(row, status) &&
      (status?.gaps ?? []).length === 0,
  )
}

async function judged(step: StepContext, backup: BackupRow | undefined) {
  if (backup === undefined) return undefined
  const target = { kind: 'latest' as const, value: '' }
  const plan = { backup, target, said: '', accuracy: '' }
  const described = await describePlan(step.database, step.clusterId, plan)
  const { size_bytes: sizeBytes, estimated_ms: restoreMs } = described
  return { label: backup.label, sizeBytes, restoreMs }
}

async function seedOne(step: StepContext, row: InstanceRow, backup: BackupRow): Promise<void> {
  const host = (await hostsById(step.database)).get(row.host_id)
  const cluster = await findCluster(step.database, step.clusterId)
  const binDirectory = host?.facts?.postgresql[cluster?.spec.postgres_version ?? '']
  if (host === undefined || binDirectory === undefined) {
    throw new HowdahError('no-capacity', `the host of ${row.name} is gone`)
  }
  const lacking = lackingRoom([host], backup.info.size_bytes)
  if (lacking !== undefined) throw new HowdahError('no-capacity', lacking)
  const at: RecoveryPlaceOnHost = { host, name: row.id, port: row.postgres_port, binDirectory }
  const name = `seed_${step.operationId}_${row.number}`
  const input: RecoveryInput = {
    stanza: { cluster_id: step.clusterId, repository_id: backup.repository_id },
    label: backup.label,
    sizeBytes: backup.info.size_bytes,
    target: { kind: 'name', value: name },
  }
  await fetchBackup(step, input, at)
  // After the copy, so that what is left to be streamed is little.
  await runOnLeader(step, 'postgres', [statement('select pg_create_restore_point($1)', [name])])
  await archivePresent(step, step.clusterId)
  await replayAsReplica(step, input, at)
}

async function removeSeed(step: StepContext, row: InstanceRow): Promise<void> {
  await changeData(step, row, { kind: 'remove-data', path: `${HOST_LAYOUT.data}/${row.id}` })
}
