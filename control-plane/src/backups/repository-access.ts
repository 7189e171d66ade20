// Owns how a cluster's repository is reached: its settings with the secrets opened, as renderers
// and agents take them, and the tasks that run there.
import { randomBytes } from 'node:crypto'
import { parseRepositoryAnswer, type RepositoryAnswer } from '@howdah/core/backup-info.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { RepositoryAccess, TaskAction } from '@howdah/core/protocol.ts'
import { type BackupPlace, caPemOf, renderPgbackrest } from '@howdah/core/render/pgbackrest.ts'
import type { RenderRepository, S3Storage } from '@howdah/core/render/repository.ts'
import type { InstanceShare } from '@howdah/core/sizing.ts'
import type { Queryable } from '../database.ts'
import type { InstanceRow } from '../db/clusters.ts'
import type { HostRow } from '../db/hosts.ts'
import {
  activeStanza,
  findRepository,
  insertStanza,
  nextStanza,
  type RepositoryRow,
  type S3Settings,
  type StanzaRow,
} from '../db/repositories.ts'
import { ensureSecret, readSecret } from '../db/secrets.ts'
import { runTask } from '../operations/agent-task.ts'
import type { Platform } from '../operations/operation.ts'
import type { Sealer } from '../sealing.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const INFO_TIMEOUT_MS = 60_000

type Access = Pick<Platform, 'database' | 'sealer' | 'changes'>

/** Of a cluster's secrets in one repository: they outlive the cluster. */
export function stanzaOwner(stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>): string {
  return `${stanza.cluster_id}@${stanza.repository_id}`
}

/**
 * Has the cluster archive there from its next start on, encrypted with a key of its own; `next`:
 * besides where it archives already.
 */
export async function assignRepository(
  tx: Queryable,
  sealer: Sealer,
  cluster: { id: string; name: string; spec: { postgres_version: string } },
  repositoryId: string,
  next = false,
): Promise<void> {
  const stanza = { cluster_id: cluster.id, repository_id: repositoryId }
  await ensureSecret(tx, sealer, stanzaOwner(stanza), 'cipher', () =>
    randomBytes(32).toString('base64url'),
  )
  await insertStanza(tx, {
    clusterId: cluster.id,
    repositoryId,
    clusterName: cluster.name,
    version: cluster.spec.postgres_version,
    next,
  })
}

/** A fifth of what an instance may fill: PostgreSQL's own files come first. */
export function queueBytesMax(share: Pick<InstanceShare, 'diskBytes'> | null): number {
  const bytes = (share?.diskBytes ?? 0) / 5
  return Math.max(512 * MIB, Math.min(64 * GIB, Math.floor(bytes / MIB) * MIB))
}

/** Undefined while the cluster has none. */
export async function loadRepository(
  db: Queryable,
  sealer: Sealer,
  cluster: { id: string; share: InstanceShare | null },
): Promise<RenderRepository | undefined> {
  const stanza = await activeStanza(db, cluster.id)
  return stanza === undefined ? undefined : loadStanza(db, sealer, stanza, cluster.share)
}

/** All places that its WAL goes to: two while it changes its repository. */
export async function loadArchiving(
  db: Queryable,
  sealer: Sealer,
  cluster: { id: string; share: InstanceShare | null },
): Promise<RenderRepository | undefined> {
  const active = await loadRepository(db, sealer, cluster)
  const row = await nextStanza(db, cluster.id)
  // Nothing is written where it is not known yet whose place it is.
  if (row?.claimed !== true) return active
  const next = await loadStanza(db, sealer, row, cluster.share)
  return active === undefined ? next : { ...active, second: next }
}

/** Of any cluster that was ever there, for as long as its backups are kept. */
export async function loadStanza(
  db: Queryable,
  sealer: Sealer,
  stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>,
  share: InstanceShare | null = null,
): Promise<RenderRepository> {
  const row = await findRepository(db, stanza.repository_id)
  const cipherPass = await readSecret(db, sealer, stanzaOwner(stanza), 'cipher')
  if (row === undefined || cipherPass === undefined) {
    throw new Error('BUG: a stanza without its repository or its key')
  }
  return {
    repositoryId: row.id,
    clusterId: stanza.cluster_id,
    storage: await loadStorage(db, sealer, row),
    cipherPass,
    queueBytesMax: queueBytesMax(share),
  }
}

export async function loadStorage(
  db: Queryable,
  sealer: Sealer,
  row: RepositoryRow,
): Promise<RenderRepository['storage']> {
  if (row.kind === 'directory') return { kind: 'directory', path: row.settings.path }
  return toStorage(row.settings, {
    key: (await readSecret(db, sealer, row.id, 'key')) ?? '',
    secret: (await readSecret(db, sealer, row.id, 'secret')) ?? '',
  })
}

export function toStorage(
  settings: S3Settings,
  { key, secret }: { key: string; secret: string },
): S3Storage {
  return {
    kind: 's3',
    endpoint: settings.endpoint,
    port: settings.port,
    bucket: settings.bucket,
    region: settings.region,
    uriStyle: settings.uri_style,
    prefix: settings.prefix,
    key,
    secret,
    caPem: settings.ca_pem,
    allowPrivate: settings.allow_private,
  }
}

/** Where a task's things are that belong to a directory below `data` of the host. */
export function placeOn(host: HostRow, name: string, port: number): BackupPlace {
  const root = host.facts?.root ?? ''
  const data = `${root}/${HOST_LAYOUT.data}/${name}`
  return {
    dataDirectory: `${data}/pgdata`,
    socketDirectory: `${root}/${HOST_LAYOUT.run}`,
    port,
    spoolDirectory: `${data}/spool`,
    lockDirectory: `${data}/lock`,
    // The agent writes the file and says where it is.
    caFile: undefined,
    patience: 'task',
  }
}

export function accessOn(repository: RenderRepository, place: BackupPlace): RepositoryAccess {
  const { second } = repository
  return {
    config: renderPgbackrest(repository, place),
    caPem: caPemOf(repository),
    stanza: repository.clusterId,
    endpoint: endpointOf(repository),
    ...(second === undefined
      ? {}
      : { second: { caPem: caPemOf(second), endpoint: endpointOf(second) } }),
  }
}

function endpointOf({ storage }: RenderRepository): RepositoryAccess['endpoint'] {
  if (storage.kind !== 's3') return null
  // As the program addresses it: that name is what must not lead anywhere it should not.
  const { uriStyle, bucket, endpoint } = storage
  const host = uriStyle === 'host' ? `${bucket}.${endpoint}` : endpoint
  return { host, allowPrivate: storage.allowPrivate }
}

/**
 * What an instance's host says of the repository, with the instance's own lock. With the patience
 * of a probe a store that is silent is named by the program itself, which tries for four times as
 * long as it waits for an answer: with a task's it would be killed first, and say nothing.
 */
export async function askRepository(
  platform: Access,
  repository: RenderRepository,
  at: { host: HostRow; instance: Pick<InstanceRow, 'id' | 'postgres_port'> },
  operationId?: string,
  patience: BackupPlace['patience'] = 'task',
): Promise<RepositoryAnswer> {
  const place = { ...placeOn(at.host, at.instance.id, at.instance.postgres_port), patience }
  const { output } = await runRepositoryTask(platform, at.host.id, INFO_TIMEOUT_MS, operationId, {
    kind: 'pgbackrest',
    repository: accessOn(repository, place),
    command: 'info',
    options: ['--output=json'],
    operands: [],
  })
  return parseRepositoryAnswer(output, repository.clusterId)
}

/** A failure is the repository's, in its own words. */
export async function runRepositoryTask<T = { output: string }>(
  platform: Access,
  hostId: string,
  timeoutMs: number,
  operationId: string | undefined,
  action: TaskAction,
): Promise<T> {
  try {
    return await runTask<T>(platform, {
      hostId,
      timeoutMs,
      ...(operationId === undefined ? {} : { operationId }),
      action,
    })
  } catch (error) {
    if (error instanceof HowdahError && error.code === 'agent-refused') {
      throw new HowdahError('repository-failed', error.message, { cause: error.cause })
    }
    throw error
  }
}
