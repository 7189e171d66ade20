// Owns POST /v1/clusters/{cluster}/fork and restore points: a moment of a cluster as a new one.
import {
  ForkAccepted,
  ForkRequest,
  RestorePlan,
  RestorePoint,
  RestorePointCreate,
} from '@howdah/core/contract/backups.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { refuseGap, refuseLeft, replayedStretch, type Stretch } from '@howdah/core/recovery-gaps.ts'
import {
  type ArchivedEnd,
  planRecovery,
  type RecoveryPlan,
  type WantedTarget,
} from '@howdah/core/recovery-plan.ts'
import { generatePassword } from '@howdah/core/scram.ts'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { isOnHistory, isWhole } from '../backups/archive-status.ts'
import { archivedEnd, recoveryEnd, statusOf } from '../backups/recovery-end.ts'
import { assignRepository } from '../backups/repository-access.ts'
import { describePlan } from '../backups/restore-plan.ts'
import { showCluster } from '../clusters/cluster-view.ts'
import { queryLeader } from '../clusters/leader-sql.ts'
import type { Queryable } from '../database.ts'
import {
  type BackupRow,
  insertRestorePoint,
  listBackups,
  listRestorePoints,
} from '../db/backups.ts'
import { insertCluster } from '../db/clusters.ts'
import { activeStanza, findStanzas } from '../db/repositories.ts'
import { listTakenBack } from '../db/restore-undo.ts'
import { ensureSecret } from '../db/secrets.ts'
import { DEFAULT_DATABASE, DEFAULT_ROLE } from '../operations/create-cluster.ts'
import { type ForkInput, forkCluster } from '../operations/fork-cluster.ts'
import type { Platform } from '../operations/operation.ts'
import type { RecoveryInput } from '../operations/recover-steps.ts'
import type { Api } from './app.ts'
import { requireBackedUp } from './backups.ts'
import { requireAvailable } from './cluster-contents.ts'
import { parseCreate, startOperation } from './clusters.ts'
import { etag, mutate } from './mutation.ts'

const Params = Type.Object({ cluster: ResourceRef })
const tags = ['backups']

export type PlannedRecovery = RecoveryPlan<BackupRow> & {
  archived: ArchivedEnd
  reads: Stretch | undefined
}

/**
 * Throws `outside-window` where the target cannot be reached, with what can. `inPlace`: also where
 * nobody can tell whether it can.
 */
export async function planFor(
  platform: Platform,
  db: Queryable,
  clusterId: string,
  wanted: WantedTarget,
  { inPlace }: { inPlace: boolean },
): Promise<PlannedRecovery> {
  const status = await statusOf(db, clusterId)
  const archived = archivedEnd(status)
  const all = await listBackups(db, clusterId)
  const onHistory = all.filter((row) => isOnHistory(row, status))
  const backups = wanted.backup === undefined ? onHistory : all
  const restorePoints = await listRestorePoints(db, clusterId)
  const plan = planRecovery(backups, wanted, {
    restorePoints,
    nowMs: Date.now(),
    end: await recoveryEnd(platform, clusterId, wanted, archived),
    takenBack: await listTakenBack(db, clusterId),
  })
  refuseLeft(plan, onHistory)
  refuseGap(plan, { gaps: status?.gaps ?? [], backups: onHistory, inPlace })
  return {
    ...plan,
    archived: { ...archived, isWhole: isWhole(status, plan.backup) },
    reads: replayedStretch(plan, onHistory),
  }
}

export function recoveryInput(clusterId: string, plan: PlannedRecovery): RecoveryInput {
  return {
    stanza: { cluster_id: clusterId, repository_id: plan.backup.repository_id },
    label: plan.backup.label,
    sizeBytes: plan.backup.info.size_bytes,
    target: plan.target,
    archived: plan.archived,
    reads: plan.reads,
  }
}

export function registerForks(api: Api): void {
  registerFork(api)
  registerRestorePoints(api)
}

function registerFork({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/fork',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Make a new cluster as this one was at a moment; it may be gone itself',
        params: Params,
        body: ForkRequest,
        response: { 200: RestorePlan, 202: ForkAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const source = await requireBackedUp(tx, request.params.cluster)
        const plan = await planFor(platform, tx, source.id, request.body, { inPlace: false })
        if (request.body.plan === true) {
          return { status: 200, body: await describePlan(tx, source.id, plan) }
        }
        return startFork(platform, tx, request, source, plan)
      }),
  )
}

async function startFork(
  platform: Platform,
  tx: Queryable,
  request: FastifyRequest,
  source: Awaited<ReturnType<typeof requireBackedUp>>,
  plan: PlannedRecovery,
) {
  const body = request.body as ForkRequest
  const stanza = (await findStanzas(tx, source.id)).find(
    ({ repository_id }) => repository_id === plan.backup.repository_id,
  )
  if (stanza === undefined) throw new HowdahError('no-repository', 'its repository is gone')
  const spec = source.cluster?.spec
  const parsed = await parseCreate(tx, {
    name: body.name,
    postgres_version: stanza.postgres_version,
    instances: body.instances ?? spec?.instances,
    gateways: spec?.gateways,
    durability: body.instances === 1 ? 'async' : spec?.durability,
    sensitivity: spec?.sensitivity,
    parameters: spec?.parameters,
  })
  const row = await insertCluster(tx, body.name, parsed)
  // Where the source archives now: the place of an old backup may be one that it has left.
  const home = (await activeStanza(tx, source.id))?.repository_id ?? plan.backup.repository_id
  await assignRepository(tx, platform.sealer, row, home)
  const password = await ensureSecret(
    tx,
    platform.sealer,
    row.id,
    `role:${DEFAULT_ROLE}`,
    generatePassword,
  )
  const isThere = source.cluster !== undefined && source.cluster.state !== 'deleted'
  const input: ForkInput = {
    ...recoveryInput(source.id, plan),
    sourceId: isThere ? source.id : null,
  }
  const title = `fork ${source.name} as ${row.name}, to ${plan.said}`
  const started = await startOperation(tx, request, forkCluster, row, title, input)
  return {
    status: 202,
    headers: { ...started.headers, etag: etag(row.version) },
    body: {
      cluster: await showCluster(tx, row),
      operation: started.operation,
      credentials: { role: DEFAULT_ROLE, password, database: DEFAULT_DATABASE },
    },
  }
}

function registerRestorePoints({ app, platform }: Api): void {
  app.get(
    '/v1/clusters/:cluster/restore-points',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Named moments that can be restored, the newest first',
        params: Params,
        response: { 200: Type.Object({ data: Type.Array(RestorePoint) }) },
      },
    },
    async ({ params }) => {
      const { id } = await requireBackedUp(platform.database, params.cluster)
      return { data: await listRestorePoints(platform.database, id) }
    },
  )
  app.post(
    '/v1/clusters/:cluster/restore-points',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Name this moment, to restore it later',
        params: Params,
        body: RestorePointCreate,
        response: { 201: RestorePoint },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const { name } = request.body
        if ((await listRestorePoints(tx, cluster.id)).some((point) => point.name === name)) {
          throw new HowdahError('name-taken', `there is a restore point ${name} already`)
        }
        const [point] = await queryLeader<{ lsn: string; at: string }>(platform, cluster, {
          text: `select pg_create_restore_point($1)::text as lsn,
                   to_char(clock_timestamp() at time zone 'UTC',
                     'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
          params: [name],
        })
        if (point === undefined) throw new HowdahError('cluster-unreachable', 'no answer')
        await insertRestorePoint(tx, cluster.id, { name, ...point })
        return { status: 201, body: { name, ...point } }
      }),
  )
}
