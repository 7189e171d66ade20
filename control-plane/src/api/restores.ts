// Owns POST /v1/clusters/{cluster}/restore: a cluster taken back to a moment, in place, and the
// undo of that.
import { RestorePlan, RestoreRequest } from '@howdah/core/contract/backups.ts'
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import { describePlan } from '../backups/restore-plan.ts'
import { type ClusterRow, lockCluster, setClusterState } from '../db/clusters.ts'
import { refuseSecond } from '../db/operations.ts'
import { findUndo } from '../db/restore-undo.ts'
import { restoreCluster } from '../operations/restore-cluster.ts'
import { undoRestore } from '../operations/undo-restore.ts'
import type { Api } from './app.ts'
import { requireRepository } from './backups.ts'
import { requireCluster, startOperation } from './clusters.ts'
import { planFor, recoveryInput } from './forks.ts'
import { mutate } from './mutation.ts'

const Params = Type.Object({ cluster: ResourceRef })
const Confirmation = Type.Object(
  { confirm: Type.String({ maxLength: 64, description: 'The name of the cluster' }) },
  { additionalProperties: false },
)
const tags = ['backups']
/** One that is broken may be restored just as well: that is what restores are for. */
const RESTORABLE: readonly string[] = ['available', 'degraded', 'updating', 'failed']

function requireConfirmed(cluster: ClusterRow, confirm: string | undefined): void {
  if (confirm === cluster.name) return
  throw new HowdahError('confirmation-missing', `confirm must be ${cluster.name}`)
}

function requireRestorable(cluster: ClusterRow): void {
  if (RESTORABLE.includes(cluster.state)) return
  throw new HowdahError('wrong-state', `cluster ${cluster.name} is ${cluster.state}`)
}

export function registerRestores({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/restore',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Take a cluster back to a moment, in place; what there is now is set aside',
        params: Params,
        body: RestoreRequest,
        response: { 200: RestorePlan, 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireCluster(tx, request.params.cluster)
        const plan = await planFor(tx, found.id, request.body)
        if (request.body.plan === true) {
          return { status: 200, body: await describePlan(tx, found.id, plan) }
        }
        const cluster = (await lockCluster(tx, found.id)) as ClusterRow
        requireConfirmed(cluster, request.body.confirm)
        requireRestorable(cluster)
        await requireRepository(tx, cluster)
        await refuseSecond(tx, cluster.id, 'backup')
        const title = `restore ${cluster.name} to ${plan.said}`
        const input = recoveryInput(cluster.id, plan)
        const started = await startOperation(tx, request, restoreCluster, cluster, title, input)
        await setClusterState(tx, cluster.id, 'restoring', title)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
  app.post(
    '/v1/clusters/:cluster/restore/undo',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Bring back what a restore has set aside; what was written since is lost',
        params: Params,
        body: Confirmation,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireCluster(tx, request.params.cluster)
        const cluster = (await lockCluster(tx, found.id)) as ClusterRow
        requireConfirmed(cluster, request.body.confirm)
        requireRestorable(cluster)
        if ((await findUndo(tx, cluster.id)) === undefined) {
          throw new HowdahError('wrong-state', `${cluster.name} has no restore to undo`)
        }
        await refuseSecond(tx, cluster.id, 'backup')
        const title = `undo the restore of ${cluster.name}`
        const started = await startOperation(tx, request, undoRestore, cluster, title, {})
        await setClusterState(tx, cluster.id, 'restoring', title)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}
