// Owns POST /v1/clusters/{cluster}/restore: a cluster taken back to a moment, in place, and the
// undo of that.
import { RestorePlan, RestoreRequest } from '@howdah/core/contract/backups.ts'
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import { describePlan } from '../backups/restore-plan.ts'
import { hostsById, refuseAway, refuseInMaintenance } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  type ClusterRow,
  listGateways,
  listInstances,
  lockCluster,
  setClusterState,
} from '../db/clusters.ts'
import { refuseSecond } from '../db/operations.ts'
import { claimUndo, findUndo } from '../db/restore-undo.ts'
import { lackingProgram, lackingRoom } from '../operations/first-instance.ts'
import {
  type RestoreInput,
  requireRestorable,
  restoreCluster,
} from '../operations/restore-cluster.ts'
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

function requireConfirmed(cluster: ClusterRow, confirm: string | undefined): void {
  if (confirm === cluster.name) return
  throw new HowdahError('confirmation-missing', `confirm must be ${cluster.name}`)
}

/** Before anything is stopped: what would keep a restore from coming to its end. */
async function refuseImpossible(
  db: Queryable,
  cluster: ClusterRow,
  sizeBytes: number,
): Promise<void> {
  refuseInMaintenance(cluster)
  const hosts = await hostsById(db)
  const instances = await listInstances(db, cluster.id)
  refuseAway(hosts, [...instances, ...(await listGateways(db, cluster.id))])
  const used = new Set(instances.map(({ host_id }) => host_id))
  const own = [...hosts.values()].filter(({ id }) => used.has(id))
  // What an earlier restore has made is removed, and not kept besides.
  const neededBytes = (await findUndo(db, cluster.id)) === undefined ? sizeBytes : 0
  const lacking = lackingProgram(own) ?? lackingRoom(own, neededBytes)
  if (lacking !== undefined) throw new HowdahError('no-capacity', lacking)
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
        const plan = await planFor(platform, tx, found.id, request.body, { inPlace: true })
        await refuseImpossible(tx, found, plan.backup.info.size_bytes)
        if (request.body.plan === true) {
          return { status: 200, body: await describePlan(tx, found.id, plan) }
        }
        const cluster = (await lockCluster(tx, found.id)) as ClusterRow
        requireConfirmed(cluster, request.body.confirm)
        requireRestorable(cluster)
        await requireRepository(tx, cluster)
        await refuseSecond(tx, cluster.id, 'backup')
        const title = `restore ${cluster.name} to ${plan.said}`
        const input: RestoreInput = {
          ...recoveryInput(cluster.id, plan),
          was: cluster.state,
          at: plan.at ?? null,
        }
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
        await claimUndo(tx, cluster.id, started.operation.id)
        await setClusterState(tx, cluster.id, 'restoring', title)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}
