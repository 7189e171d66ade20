// Owns /v1/repositories: where backups go. One is accepted only after an agent has written, read
// and removed something there.
import { Repository, RepositoryCreate } from '@howdah/core/contract/backups.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import type { BackupPlace } from '@howdah/core/render/pgbackrest.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import { Type } from 'typebox'
import { accessOn, placeOn, runRepositoryTask } from '../backups/repository-access.ts'
import { hostState, listHosts } from '../db/hosts.ts'
import {
  deleteRepository,
  findRepository,
  insertRepository,
  listRepositories,
  type RepositoryRow,
} from '../db/repositories.ts'
import { deleteSecrets, ensureSecret } from '../db/secrets.ts'
import type { Platform } from '../operations/operation.ts'
import { permissionsOf, userOf } from './access.ts'
import type { Api } from './app.ts'
import { mutate } from './mutation.ts'

const PROBE_TIMEOUT_MS = 25_000
const HTTPS_PORT = 443
const REGION = 'us-east-1'
const Params = Type.Object({ repository: ResourceRef })
const tags = ['backups']

function toRepository(row: RepositoryRow & { clusters: number }): Repository {
  const { settings } = row
  const location =
    'path' in settings
      ? settings.path
      : `s3://${settings.bucket}/${settings.prefix} at ${settings.endpoint}:${settings.port}`
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    location,
    default: row.is_default,
    clusters: row.clusters,
    created_at: row.created_at.toISOString(),
  }
}

function settingsOf(body: RepositoryCreate) {
  if (body.kind === 'directory') return { path: body.path }
  return {
    endpoint: body.endpoint,
    port: body.port ?? HTTPS_PORT,
    bucket: body.bucket,
    region: body.region ?? REGION,
    uri_style: body.uri_style ?? 'host',
    prefix: body.prefix ?? '',
    allow_private: body.allow_private ?? false,
    ca_pem: body.ca_pem ?? null,
  }
}

function storageOf(body: RepositoryCreate): RenderRepository['storage'] {
  if (body.kind === 'directory') return { kind: 'directory', path: body.path }
  return {
    kind: 's3',
    endpoint: body.endpoint,
    port: body.port ?? HTTPS_PORT,
    bucket: body.bucket,
    region: body.region ?? REGION,
    uriStyle: body.uri_style ?? 'host',
    prefix: body.prefix ?? '',
    key: body.key,
    secret: body.secret,
    caPem: body.ca_pem ?? null,
    allowPrivate: body.allow_private ?? false,
  }
}

/** By every data host that is online: each of them will archive there, and restore from it. */
async function probe(platform: Platform, body: RepositoryCreate): Promise<void> {
  const repository: RenderRepository = {
    repositoryId: '',
    clusterId: 'probe',
    storage: storageOf(body),
    cipherPass: null,
    queueBytesMax: 1,
  }
  const hosts = (await listHosts(platform.database)).filter(
    (host) => host.role === 'data' && hostState(host) === 'online',
  )
  if (hosts.length === 0) throw new HowdahError('no-capacity', 'no host is online to try it')
  await Promise.all(
    hosts.map(async (host) => {
      const place: BackupPlace = {
        ...placeOn(host, 'probe', 1),
        dataDirectory: undefined,
        patience: 'probe',
      }
      const action = {
        kind: 'probe-repository' as const,
        repository: accessOn(repository, place),
      }
      await runRepositoryTask(platform, host.id, PROBE_TIMEOUT_MS, undefined, action).catch(
        (error: unknown) => {
          if (!(error instanceof HowdahError)) throw error
          const said = `from ${host.name}: ${error.message}`
          throw new HowdahError('repository-failed', said, { cause: error.cause })
        },
      )
    }),
  )
}

/**
 * A name may lead elsewhere at any moment, and the program that backs up looks it up by itself each
 * time: so who may not send the platform's hosts anywhere may not choose a name either, only use
 * one that an administrator has chosen.
 */
export function refuseToOperator(
  body: RepositoryCreate,
  present: readonly Pick<RepositoryRow, 'kind' | 'settings'>[],
): string | undefined {
  if (body.kind === 'directory') return 'only an administrator may choose a directory'
  const port = body.port ?? HTTPS_PORT
  const known = present.flatMap(({ settings }) =>
    'endpoint' in settings && settings.endpoint === body.endpoint && settings.port === port
      ? [settings]
      : [],
  )
  if (known.length === 0) {
    return 'only an administrator may choose an endpoint that no repository has yet'
  }
  if (body.allow_private === true && !known.some(({ allow_private }) => allow_private)) {
    return 'only an administrator may choose a private network'
  }
  return undefined
}

export function registerRepositories(api: Api): void {
  registerReads(api)
  registerCreate(api)
  registerDelete(api)
}

function registerReads({ app, platform }: Api): void {
  app.get(
    '/v1/repositories',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Where backups can go',
        response: { 200: Type.Object({ data: Type.Array(Repository) }) },
      },
    },
    async () => ({ data: (await listRepositories(platform.database)).map(toRepository) }),
  )
  app.get(
    '/v1/repositories/:repository',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Show a repository',
        params: Params,
        response: { 200: Repository },
      },
    },
    async ({ params }) => {
      const all = await listRepositories(platform.database)
      const row = all.find(({ id, name }) => [id, name].includes(params.repository))
      if (row === undefined) {
        throw new HowdahError('not-found', `there is no repository ${params.repository}`)
      }
      return toRepository(row)
    },
  )
}

function registerCreate({ app, platform }: Api): void {
  app.post(
    '/v1/repositories',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Add a repository, tried from every host; a new endpoint is for administrators',
        body: RepositoryCreate,
        response: { 201: Repository },
      },
    },
    async (request, reply) => {
      const { body } = request
      parseResourceName(body.name)
      if (!permissionsOf(userOf(request)).includes('administer')) {
        const why = refuseToOperator(body, await listRepositories(platform.database))
        if (why !== undefined) throw new HowdahError('not-allowed', why)
      }
      // Before the transaction: it takes seconds, and changes nothing of ours.
      if ((await findRepository(platform.database, body.name)) === undefined) {
        await probe(platform, body)
      }
      return mutate(platform, request, reply, async (tx) => {
        const row = await insertRepository(tx, {
          name: body.name,
          kind: body.kind,
          settings: settingsOf(body),
          isDefault: body.default === true,
        })
        if (body.kind === 's3') {
          await ensureSecret(tx, platform.sealer, row.id, 'key', () => body.key)
          await ensureSecret(tx, platform.sealer, row.id, 'secret', () => body.secret)
        }
        return { status: 201, body: toRepository({ ...row, clusters: 0 }) }
      })
    },
  )
}

function registerDelete({ app, platform }: Api): void {
  app.delete(
    '/v1/repositories/:repository',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Forget a repository that holds no backups; nothing in it is touched',
        params: Params,
        response: { 204: Type.Null() },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const reference = request.params.repository
        const all = await listRepositories(tx)
        const row = all.find(({ id, name }) => [id, name].includes(reference))
        if (row === undefined) {
          throw new HowdahError('not-found', `there is no repository ${reference}`)
        }
        if (row.clusters > 0) {
          const said = `${row.name} holds backups of ${row.clusters} clusters`
          throw new HowdahError('wrong-state', said)
        }
        await deleteRepository(tx, row.id)
        await deleteSecrets(tx, row.id)
        return { status: 204, body: null }
      }),
  )
}
