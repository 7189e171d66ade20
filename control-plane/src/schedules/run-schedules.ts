// Owns what clusters' schedules start: backups and restore drills, when they are due. Any number of
// control planes may look: a schedule is taken by locking its row, and moved on in the same
// transaction that starts its operation.
import { describeError } from '@howdah/core/errors.ts'
import type { Queryable } from '../database.ts'
import { listBackups, type ScheduleRow, setNextRun, takeDue } from '../db/backups.ts'
import { findCluster } from '../db/clusters.ts'
import { insertOperation } from '../db/operations.ts'
import { activeStanza } from '../db/repositories.ts'
import { createBackup } from '../operations/create-backup.ts'
import type { OperationDefinition, Platform } from '../operations/operation.ts'
import { restoreDrill } from '../operations/restore-drill.ts'

const EVERY_MS = 5000
const AT_ONCE_MAX = 20

export function startSchedules(platform: Platform): { stop(): void } {
  let running = false
  const run = async () => {
    if (running) return
    running = true
    await runDue(platform).catch((error) =>
      platform.log.warn({ error: describeError(error) }, 'schedules failed'),
    )
    running = false
  }
  const unsubscribe = platform.changes.subscribe('schedules', () => void run())
  const timer = setInterval(() => void run(), EVERY_MS)
  void run()
  return {
    stop() {
      clearInterval(timer)
      unsubscribe()
    },
  }
}

/** Starts what is due; a schedule whose cluster is busy with a backup waits. */
export async function runDue(platform: Platform): Promise<void> {
  for (let count = 0; count < AT_ONCE_MAX; count += 1) {
    const taken = await platform.database.transaction(async (tx) => {
      const due = await takeDue(tx)
      if (due === undefined) return false
      await setNextRun(tx, due)
      await startScheduled(tx, due)
      return true
    })
    if (!taken) return
  }
}

async function startScheduled(tx: Queryable, due: ScheduleRow): Promise<void> {
  const cluster = await findCluster(tx, due.cluster_id)
  if (cluster === undefined || (await activeStanza(tx, cluster.id)) === undefined) return
  const isDrill = due.kind === 'drill'
  if (isDrill && (await listBackups(tx, cluster.id)).length === 0) return
  const definition: OperationDefinition<never> = isDrill ? restoreDrill : createBackup
  await insertOperation(tx, {
    kind: definition.kind,
    title: isDrill
      ? `prove the newest backup of ${cluster.name}`
      : `${due.kind} backup of ${cluster.name}`,
    clusterId: cluster.id,
    clusterName: cluster.name,
    input: isDrill ? {} : { type: due.kind },
    steps: definition.steps,
    createdBy: 'howdah',
    lane: 'backup',
  })
}
