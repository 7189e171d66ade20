// Owns a cluster's backups: taking, showing and deleting them, and its policy.
import { BackupPolicy, BackupPolicyChange } from '@howdah/core/contract/backup-policy.ts'
import { Backup, BackupCreate, BackupStatus } from '@howdah/core/contract/backups.ts'
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { isTimeZone, nextRun } from '@howdah/core/cron.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import { showBackupStatus } from '../backups/backup-status.ts'
import type { Queryable } from '../database.ts'
import { findBackup, listBackups, storeSchedules, toBackup } from '../db/backups.ts'
import { type ClusterRow, findCluster, lockCluster, updateClusterSpec } from '../db/clusters.ts'
import { activeStanza, findStanzas } from '../db/repositories.ts'
import { formatSize, refuseRead } from '../operations/backup-steps.ts'
import { type CreateBackupInput, createBackup, policyOf } from '../operations/create-backup.ts'
import { deleteBackup } from '../operations/delete-backup.ts'
import type { Api } from './app.ts'
import { requireAvailable } from './cluster-contents.ts'
import { requireCluster, startOperation } from './clusters.ts'
import { mutate } from './mutation.ts'

const Params = Type.Object({ cluster: ResourceRef })
const BackupParams = Type.Object({ cluster: ResourceRef, backup: ResourceRef })
const tags = ['backups']
/** An hour less than its task has: WAL is waited for at its end. */
const BACKUP_HOURS_MAX = 23

/** A cluster, or what is left of one in a repository: `id` finds its backups. */
export async function requireBackedUp(
  db: Queryable,
  reference: string,
): Promise<{ id: string; name: string; cluster: ClusterRow | undefined }> {
  const cluster = await findCluster(db, reference)
  if (cluster !== undefined) return { id: cluster.id, name: cluster.name, cluster }
  const stanza = (await findStanzas(db, reference))[0]
  if (stanza === undefined) {
    throw new HowdahError('not-found', `there is no cluster ${reference}, and no backup of one`)
  }
  return { id: stanza.cluster_id, name: stanza.cluster_name, cluster: undefined }
}

export async function requireRepository(tx: Queryable, cluster: ClusterRow): Promise<void> {
  if ((await activeStanza(tx, cluster.id)) !== undefined) return
  throw new HowdahError('no-repository', `${cluster.name} is not backed up anywhere`)
}

export function registerBackups(api: Api): void {
  registerReads(api)
  registerCreate(api)
  registerDelete(api)
  registerPolicy(api)
  registerStatus(api)
}

function registerReads({ app, platform }: Api): void {
  const { database } = platform
  app.get(
    '/v1/clusters/:cluster/backups',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Backups of a cluster, also of one that is gone, the newest first',
        params: Params,
        response: { 200: Type.Object({ data: Type.Array(Backup) }) },
      },
    },
    async ({ params }) => {
      const { id } = await requireBackedUp(database, params.cluster)
      return { data: (await listBackups(database, id)).map(toBackup) }
    },
  )
  app.get(
    '/v1/clusters/:cluster/backups/:backup',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Show a backup, by id or label',
        params: BackupParams,
        response: { 200: Backup },
      },
    },
    async ({ params }) => {
      const { id, name } = await requireBackedUp(database, params.cluster)
      const row = await findBackup(database, id, params.backup)
      if (row === undefined) {
        throw new HowdahError('not-found', `${name} has no backup ${params.backup}`)
      }
      return toBackup(row)
    },
  )
}

function registerStatus({ app, platform }: Api): void {
  app.get(
    '/v1/clusters/:cluster/backup-status',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'What can be restored, what would be lost now, and what is wrong',
        params: Params,
        response: { 200: BackupStatus },
      },
    },
    async ({ params }) => {
      const cluster = await requireCluster(platform.database, params.cluster)
      return showBackupStatus(platform.database, cluster)
    },
  )
}

function registerDelete({ app, platform }: Api): void {
  app.delete(
    '/v1/clusters/:cluster/backups/:backup',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Remove a backup with those that need it; never the last full one',
        params: BackupParams,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const rows = await listBackups(tx, cluster.id)
        const reference = request.params.backup
        const row = rows.find(({ id, label }) => id === reference || label === reference)
        if (row === undefined) {
          throw new HowdahError('not-found', `${cluster.name} has no backup ${reference}`)
        }
        const stanza = await activeStanza(tx, cluster.id)
        if (stanza === undefined || row.repository_id !== stanza.repository_id) {
          throw new HowdahError('wrong-state', `${row.label} is in a repository that is only read`)
        }
        const others = rows.filter(
          ({ type, id, repository_id }) =>
            type === 'full' && id !== row.id && repository_id === row.repository_id,
        )
        if (row.type === 'full' && others.length === 0) {
          throw new HowdahError('wrong-state', `${row.label} is the last full backup`)
        }
        await refuseRead(tx, stanza)
        const title = `remove backup ${row.label} of ${cluster.name}`
        const input = { label: row.label }
        const started = await startOperation(tx, request, deleteBackup, cluster, title, input)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}

function registerCreate({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/backups',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Take a backup now',
        params: Params,
        body: BackupCreate,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        await requireRepository(tx, cluster)
        const type = request.body.type ?? 'incremental'
        const title = `${type} backup of ${cluster.name}`
        const { throttle_bytes_per_second: throttle } = request.body
        const sizeBytes = (await listBackups(tx, cluster.id))[0]?.info.size_bytes ?? 0
        refuseTooSlow(sizeBytes, throttle)
        const input: CreateBackupInput = {
          type,
          ...(throttle === undefined ? {} : { bytesPerSecondMax: throttle }),
        }
        const started = await startOperation(tx, request, createBackup, cluster, title, input)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}

/** Before it runs for a day in vain. */
export function refuseTooSlow(sizeBytes: number, bytesPerSecond = Number.POSITIVE_INFINITY): void {
  const hours = sizeBytes / bytesPerSecond / 3600
  if (hours < BACKUP_HOURS_MAX) return
  const least = formatSize(sizeBytes / (BACKUP_HOURS_MAX * 3600))
  const said = `${formatSize(sizeBytes)} would take ${Math.ceil(hours)} hours`
  const bound = `a backup may take ${BACKUP_HOURS_MAX}: read at least ${least}/s`
  throw new HowdahError('bad-request', `throttle_bytes_per_second: ${said}; ${bound}`)
}

function checkPolicy(policy: BackupPolicy): void {
  const { timezone } = policy
  if (!isTimeZone(timezone)) {
    throw new HowdahError('bad-request', `timezone: ${JSON.stringify(timezone)} is none`)
  }
  for (const kind of ['full', 'differential', 'incremental', 'drill'] as const) {
    const cron = policy[kind]
    if (cron !== null && nextRun(cron, timezone, Date.now()) === undefined) {
      throw new HowdahError('bad-request', `${kind}: ${cron} never comes`)
    }
  }
  if (policy.keep_full === null && policy.keep_days === null) {
    throw new HowdahError('bad-request', 'give keep_full or keep_days: a disk is not endless')
  }
}

function registerPolicy({ app, platform }: Api): void {
  app.get(
    '/v1/clusters/:cluster/backup-policy',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'When backups are taken and proven, and how long they are kept',
        params: Params,
        response: { 200: BackupPolicy },
      },
    },
    async ({ params }) => policyOf(await requireCluster(platform.database, params.cluster)),
  )
  app.patch(
    '/v1/clusters/:cluster/backup-policy',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change what is given of the policy',
        params: Params,
        body: BackupPolicyChange,
        response: { 200: BackupPolicy },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireCluster(tx, request.params.cluster)
        const cluster = (await lockCluster(tx, found.id)) as ClusterRow
        const policy: BackupPolicy = { ...policyOf(cluster), ...request.body }
        checkPolicy(policy)
        await updateClusterSpec(tx, cluster.id, cluster.version, {
          ...cluster.spec,
          backup: policy,
        })
        if ((await activeStanza(tx, cluster.id)) !== undefined) {
          await storeSchedules(tx, cluster.id, policy)
        }
        return { status: 200, body: policy }
      }),
  )
}
