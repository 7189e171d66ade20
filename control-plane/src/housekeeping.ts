// Owns what happens by the clock: old idempotency keys and tasks go, tombstones past their undo
// window are purged, and so is what restores have set aside.
import { describeError } from '@howdah/core/errors.ts'
import { deleteLeftDoors } from './db/backup-doors.ts'
import { listInstances, listPurgeable, setClusterState } from './db/clusters.ts'
import { listLeftCopies } from './db/drill-copies.ts'
import { deleteOldKeys } from './db/idempotency.ts'
import { insertOperation } from './db/operations.ts'
import { deleteUndo, listExpiredUndos } from './db/restore-undo.ts'
import { deleteOldTasks } from './db/tasks.ts'
import { runTask } from './operations/agent-task.ts'
import { deleteCluster } from './operations/delete-cluster.ts'
import { removeCopy } from './operations/drill-copy.ts'
import type { Platform } from './operations/operation.ts'
import { asidePath } from './operations/restore-cluster.ts'

const EVERY_MS = 60_000
const REMOVE_TIMEOUT_MS = 60_000

export function startHousekeeping(platform: Platform): { stop(): void } {
  const run = () => {
    keepHouse(platform).catch((error) =>
      platform.log.warn({ error: describeError(error) }, 'housekeeping failed'),
    )
  }
  const timer = setInterval(run, EVERY_MS)
  run()
  return { stop: () => clearInterval(timer) }
}

async function keepHouse(platform: Platform): Promise<void> {
  const { database, log } = platform
  await removeExpiredUndos(platform)
  await removeLeftCopies(platform)
  await deleteLeftDoors(database)
  await deleteOldKeys(database)
  await deleteOldTasks(database)
  for (const cluster of await listPurgeable(database)) {
    const title = `purge cluster ${cluster.name}`
    await database
      .transaction(async (tx) => {
        await insertOperation(tx, {
          kind: deleteCluster.kind,
          title,
          clusterId: cluster.id,
          clusterName: cluster.name,
          input: { purge: true, keepBackups: true },
          steps: deleteCluster.steps,
          createdBy: 'howdah',
        })
        await setClusterState(tx, cluster.id, 'deleting', title)
      })
      // Another control plane was faster, or somebody brings it back right now.
      .catch((error) =>
        log.info({ cluster: cluster.id, error: describeError(error) }, 'not purged'),
      )
  }
}

/** Of drills that ended where nobody could clean up; a host that is away is asked again. */
async function removeLeftCopies(platform: Platform): Promise<void> {
  for (const copy of await listLeftCopies(platform.database)) {
    await removeCopy(platform, copy).catch((error) =>
      platform.log.info({ copy, error: describeError(error) }, 'copy of a drill not removed'),
    )
  }
}

/** What restores have set aside; a host that is away is asked again the next time. */
async function removeExpiredUndos(platform: Platform): Promise<void> {
  const { database, log } = platform
  for (const undo of await listExpiredUndos(database)) {
    const rows = await listInstances(database, undo.cluster_id)
    const results = await Promise.allSettled(
      rows.map((row) =>
        runTask(platform, {
          hostId: row.host_id,
          timeoutMs: REMOVE_TIMEOUT_MS,
          action: { kind: 'remove-data', path: asidePath(row, undo.directory) },
        }),
      ),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed === undefined) await deleteUndo(database, undo.cluster_id)
    else log.info({ cluster: undo.cluster_id, error: describeError(failed.reason) }, 'not removed')
  }
}
