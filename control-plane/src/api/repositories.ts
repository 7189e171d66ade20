// Owns /v1/repositories: where backups go. One, or a change of one, is accepted only after agents
// have written, read, listed and removed something there.
import { Repository, RepositoryCreate, RepositoryUpdate } from '@howdah/core/contract/backups.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import { Type } from 'typebox'
import { probeRepository } from '../backups/probe-repository.ts'
import { loadStorage, stanzaOwner, toStorage } from '../backups/repository-access.ts'
import type { Queryable } from '../database.ts'
import { addEvent } from '../db/events.ts'
import { touchHosts } from '../db/hosts.ts'
import {
  deleteRepository,
  deleteStanza,
  findRepository,
  insertRepository,
  listRepositories,
  listRepositoryHosts,
  listStanzasIn,
  type RepositoryRow,
  type S3Settings,
  storePlace,
  updateRepository,
} from '../db/repositories.ts'
import { deleteSecrets, ensureSecret, replaceSecret } from '../db/secrets.ts'
import type { Platform } from '../operations/operation.ts'
import { permissionsOf, userOf } from './access.ts'
import type { Api } from './app.ts'
import { etag, mutate, requireMatch } from './mutation.ts'

const HTTPS_PORT = 443
const REGION = 'us-east-1'
const Params = Type.Object({ repository: ResourceRef })
const DeleteQuery = Type.Object({
  forget: Type.Optional(
    Type.Boolean({ description: 'With all that it still holds of clusters that have left it' }),
  ),
})
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
    version: row.version,
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
  const { key, secret } = body
  return toStorage(settingsOf(body) as S3Settings, { key, secret })
}

/** Those that were there before places had identities get theirs, as far as they answer now. */
async function findPlaces(platform: Platform): Promise<void> {
  const { database, sealer, log } = platform
  for (const row of await listRepositories(database)) {
    if (row.place !== null) continue
    await loadStorage(database, sealer, row)
      .then((storage) => probeRepository(platform, storage))
      .then((place) => storePlace(database, row, place))
      .catch((error) =>
        log.warn({ repository: row.name, error: describeError(error) }, 'place not known yet'),
      )
  }
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
  if (body.default === true) return 'only an administrator may choose the default'
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
  registerUpdate(api)
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
    async ({ params }, reply) => {
      const row = await requireListed(platform.database, params.repository)
      reply.header('etag', etag(row.version))
      return toRepository(row)
    },
  )
}

async function requireListed(db: Queryable, reference: string) {
  const all = await listRepositories(db)
  const row = all.find(({ id, name }) => [id, name].includes(reference))
  if (row === undefined) throw new HowdahError('not-found', `there is no repository ${reference}`)
  return row
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
      // Before the transaction: it takes seconds, and changes nothing of ours. A name that is taken
      // is refused by that.
      const isNew = (await findRepository(platform.database, body.name)) === undefined
      if (isNew) await findPlaces(platform)
      const place = isNew ? await probeRepository(platform, storageOf(body)) : null
      return mutate(platform, request, reply, async (tx) => {
        const row = await insertRepository(tx, {
          name: body.name,
          kind: body.kind,
          settings: settingsOf(body),
          isDefault: body.default === true,
          place,
        })
        if (body.kind === 's3') {
          await ensureSecret(tx, platform.sealer, row.id, 'key', () => body.key)
          await ensureSecret(tx, platform.sealer, row.id, 'secret', () => body.secret)
        }
        const headers = { etag: etag(row.version) }
        return { status: 201, headers, body: toRepository({ ...row, clusters: 0 }) }
      })
    },
  )
}

/** With what is given instead of what there is; undefined when it is reached as before. */
async function changedStorage(
  platform: Platform,
  row: RepositoryRow,
  { key, secret, ca_pem: caPem }: RepositoryUpdate,
): Promise<RenderRepository['storage'] | undefined> {
  if (key === undefined && secret === undefined && caPem === undefined) return undefined
  const storage = await loadStorage(platform.database, platform.sealer, row)
  if (storage.kind !== 's3') {
    throw new HowdahError('bad-request', `${row.name} is a directory: it has no keys`)
  }
  return {
    ...storage,
    key: key ?? storage.key,
    secret: secret ?? storage.secret,
    caPem: caPem === undefined ? storage.caPem : caPem,
  }
}

/** It is still the place that it was, or whatever is there would count as lost. */
async function probeChanged(
  platform: Platform,
  row: RepositoryRow,
  storage: RenderRepository['storage'],
): Promise<void> {
  const place = await probeRepository(platform, storage)
  if (row.place === null) await storePlace(platform.database, row, place)
  else if (row.place !== place) {
    throw new HowdahError('repository-failed', `${row.name} would be another place with that`)
  }
}

function registerUpdate({ app, platform }: Api): void {
  const { database, sealer } = platform
  app.patch(
    '/v1/repositories/:repository',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Change keys, authority or default of a repository, tried from every host',
        params: Params,
        body: RepositoryUpdate,
        response: { 200: Repository },
      },
    },
    async (request, reply) => {
      const { body } = request
      const present = await requireListed(database, request.params.repository)
      const storage = await changedStorage(platform, present, body)
      if (storage !== undefined) await probeChanged(platform, present, storage)
      return mutate(platform, request, reply, async (tx) => {
        const row = await requireListed(tx, present.id)
        requireMatch(request, row.version)
        const caPem = body.ca_pem === undefined ? {} : { ca_pem: body.ca_pem }
        const changed = await updateRepository(tx, {
          ...row,
          // What was tried is what is kept: a change in between has another version.
          version: present.version,
          settings: { ...row.settings, ...caPem },
          is_default: body.default ?? row.is_default,
        })
        if (changed === undefined) throw new HowdahError('version-mismatch', 'changed meanwhile')
        for (const name of ['key', 'secret'] as const) {
          const value = body[name]
          if (value !== undefined) await replaceSecret(tx, sealer, row.id, name, value)
        }
        if (storage !== undefined) await touchHosts(tx, await listRepositoryHosts(tx, row.id))
        await addEvent(tx, {
          kind: 'repository.changed',
          message: `repository ${row.name} was changed by ${userOf(request).name}`,
        })
        const headers = { etag: etag(changed.version) }
        return { status: 200, headers, body: toRepository({ ...changed, clusters: row.clusters }) }
      })
    },
  )
}

/** One that is gone for good can never be emptied: then what was in it is forgotten with it. */
async function leaveStanzas(tx: Queryable, row: RepositoryRow, isForgotten: boolean) {
  const stanzas = await listStanzasIn(tx, row.id)
  const used = stanzas.filter(({ retired_at }) => retired_at === null)
  if (used.length > 0) {
    const names = used.map(({ cluster_name }) => cluster_name).join(', ')
    throw new HowdahError('wrong-state', `${row.name} is where ${names} is backed up to`)
  }
  if (stanzas.length > 0 && !isForgotten) {
    const said = `${row.name} holds backups of ${stanzas.length} clusters that are not in use`
    throw new HowdahError('wrong-state', said, {
      extra: { hint: 'wait until their time has passed, or give them up with --forget' },
    })
  }
  for (const stanza of stanzas) {
    await deleteStanza(tx, stanza)
    await deleteSecrets(tx, stanzaOwner(stanza))
  }
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
        querystring: DeleteQuery,
        response: { 204: Type.Null() },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const reference = request.params.repository
        const row = await requireListed(tx, reference)
        await leaveStanzas(tx, row, request.query.forget === true)
        await deleteRepository(tx, row.id)
        await deleteSecrets(tx, row.id)
        return { status: 204, body: null }
      }),
  )
}
