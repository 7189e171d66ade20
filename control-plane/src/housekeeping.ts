// Owns what happens by the clock: old idempotency keys and tasks go, tombstones past their undo
// window are purged.
import { describeError } from '@howdah/core/errors.ts'
import { listPurgeable, setClusterState } from './db/clusters.ts'
import { deleteOldKeys } from './db/idempotency.ts'
import { insertOperation } from './db/operations.ts'
import { deleteOldTasks } from './db/tasks.ts'
import { deleteCluster } from './operations/delete-cluster.ts'
import type { Platform } from './operations/operation.ts'

const EVERY_MS = 60_000

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

async function keepHouse({ database, log }: Platform): Promise<void> {
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
          input: { purge: true },
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
