// Owns /v1/clusters and /v1/parameters: parses, authorizes, stores what is wanted with the
// operation that will bring it about, and answers 202. It never waits for a host.
import {
  Cluster,
  ClusterAccepted,
  ClusterCa,
  ClusterCreate,
  ClusterDelete,
  ClusterReplace,
  type ClusterSpec,
  ClusterUpdate,
  OperationAccepted,
  ParameterEntry,
} from '@howdah/core/contract/clusters.ts'
import { PageQuery, pageOf, ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import { PARAMETER_RULES, parseParameters, requiresRestart } from '@howdah/core/parameters.ts'
import type { HostFacts } from '@howdah/core/protocol.ts'
import { generatePassword } from '@howdah/core/scram.ts'
import { requireSharedMemory } from '@howdah/core/shared-memory.ts'
import {
  clusterParameters,
  INSTANCE_SLOTS_PER_HOST,
  type InstanceShare,
  instanceShare,
} from '@howdah/core/sizing.ts'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { assignRepository } from '../backups/repository-access.ts'
import { showCluster, showClusters } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  type ClusterRow,
  findCluster,
  insertCluster,
  listClusters,
  listGateways,
  listInstances,
  lockCluster,
  setClusterState,
  updateClusterSpec,
} from '../db/clusters.ts'
import { type HostRow, hostState, listHosts, readDcs, touchHosts } from '../db/hosts.ts'
import { insertOperation, listSteps, runningOperation, toOperation } from '../db/operations.ts'
import { defaultRepository, findRepository, type RepositoryRow } from '../db/repositories.ts'
import { ensureSecret, readSecret } from '../db/secrets.ts'
import { parametersOf, SECRET } from '../hosts/render-input.ts'
import { createCluster, DEFAULT_DATABASE, DEFAULT_ROLE } from '../operations/create-cluster.ts'
import { deleteCluster } from '../operations/delete-cluster.ts'
import type { OperationDefinition } from '../operations/operation.ts'
import { undeleteCluster } from '../operations/undelete-cluster.ts'
import { updateCluster } from '../operations/update-cluster.ts'
import { userOf } from './access.ts'
import type { Api } from './app.ts'
import { etag, mutate, requireMatch } from './mutation.ts'
import { parseCursor, toPage } from './page.ts'

const INSTANCES_DEFAULT = 3
const Params = Type.Object({ cluster: ResourceRef })
const ListQuery = Type.Object({
  ...PageQuery.properties,
  deleted: Type.Boolean({ default: false, description: 'Show the tombstones instead' }),
})
const tags = ['clusters']

export async function requireCluster(db: Queryable, reference: string): Promise<ClusterRow> {
  const row = await findCluster(db, reference)
  if (row === undefined) throw new HowdahError('not-found', `there is no cluster ${reference}`)
  return row
}

/** Starts an operation on a cluster and shows it as the API does. */
export async function startOperation(
  tx: Queryable,
  request: FastifyRequest,
  definition: OperationDefinition<never>,
  cluster: { id: string; name: string },
  title: string,
  input: unknown,
  startAt: string | null = null,
) {
  const row = await insertOperation(tx, {
    kind: definition.kind,
    title,
    clusterId: cluster.id,
    clusterName: cluster.name,
    input,
    steps: definition.steps,
    createdBy: userOf(request).name,
    startAt,
    lane: definition.lane ?? 'cluster',
  })
  const operation = toOperation(row, await listSteps(tx, [row.id]))
  return { operation, headers: { location: `/v1/operations/${row.id}` } }
}

/** The newest major that every online host has, unless one is asked for. */
function chooseVersion(hosts: readonly HostRow[], wanted: string | undefined): string {
  const online = hosts.filter((host) => hostState(host) === 'online' && host.facts !== null)
  if (online.length === 0) throw new HowdahError('no-capacity', 'no host is online')
  const onAll = Object.keys(online[0]?.facts?.postgresql ?? {}).filter((version) =>
    online.every((host) => Object.hasOwn(host.facts?.postgresql ?? {}, version)),
  )
  const newest = onAll.sort((a, b) => Number(b) - Number(a))[0]
  const chosen = wanted ?? newest
  if (chosen === undefined || !onAll.includes(chosen)) {
    const there = onAll.length === 0 ? 'none' : onAll.join(', ')
    throw new HowdahError('no-such-version', `PostgreSQL ${chosen ?? ''}: installed: ${there}`)
  }
  return chosen
}

/** Of the hosts that get instances first; of all that are online where there is none of those. */
function candidateFacts(hosts: readonly HostRow[]): HostFacts[] {
  const online = hosts.filter((host) => hostState(host) === 'online' && host.facts !== null)
  const data = online.filter((host) => host.role === 'data')
  return (data.length > 0 ? data : online).flatMap(({ facts }) => facts ?? [])
}

export async function parseCreate(
  tx: Queryable,
  body: { [Key in keyof ClusterCreate]: ClusterCreate[Key] | undefined } & { name: string },
): Promise<ClusterSpec> {
  parseResourceName(body.name)
  if ((await readDcs(tx)).state !== 'available') {
    throw new HowdahError('no-dcs', 'clusters need a dcs to choose their leaders')
  }
  const instances = body.instances ?? INSTANCES_DEFAULT
  const durability = body.durability ?? (instances > 1 ? 'sync' : 'async')
  if (durability === 'strict' && instances === 1) {
    throw new HowdahError('bad-request', 'durability strict needs at least two instances')
  }
  const hosts = await listHosts(tx)
  const postgresVersion = chooseVersion(hosts, body.postgres_version)
  const parameters = parseParameters(body.parameters ?? {})
  const share = instanceShare(candidateFacts(hosts), INSTANCE_SLOTS_PER_HOST)
  requireSharedMemory(clusterParameters(share, parameters), share)
  return {
    postgres_version: postgresVersion,
    instances,
    gateways: body.gateways ?? 1,
    durability,
    sensitivity: body.sensitivity ?? 'balanced',
    maintenance: false,
    parameters,
    labels: body.labels ?? {},
  }
}

/** The default one unless one is asked for; undefined where there is none at all. */
export async function chooseRepository(
  tx: Queryable,
  wanted: string | undefined,
): Promise<RepositoryRow | undefined> {
  if (wanted === undefined) return defaultRepository(tx)
  const found = await findRepository(tx, wanted)
  if (found === undefined) throw new HowdahError('not-found', `there is no repository ${wanted}`)
  return found
}

export function registerClusters(api: Api): void {
  registerReads(api)
  registerCreate(api)
  registerChange(api)
  registerDelete(api)
}

function registerReads({ app, platform }: Api): void {
  const { database, sealer } = platform
  app.get(
    '/v1/clusters',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List clusters',
        querystring: ListQuery,
        response: { 200: pageOf(Cluster) },
      },
    },
    async ({ query }) => {
      const filter = {
        after: parseCursor(query.cursor),
        limit: query.limit + 1,
        deleted: query.deleted,
      }
      const page = toPage(await listClusters(database, filter), query.limit, (row) => row)
      return { ...page, data: await showClusters(database, page.data) }
    },
  )
  app.get(
    '/v1/clusters/:cluster',
    {
      config: { access: 'read' },
      schema: { tags, summary: 'Show a cluster', params: Params, response: { 200: Cluster } },
    },
    async (request, reply) => {
      const row = await requireCluster(database, request.params.cluster)
      reply.header('etag', etag(row.version))
      return showCluster(database, row)
    },
  )
  app.get(
    '/v1/clusters/:cluster/ca',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'The CA that clients verify the endpoints with',
        params: Params,
        response: { 200: ClusterCa },
      },
    },
    async (request) => {
      const row = await requireCluster(database, request.params.cluster)
      const pem = await readSecret(database, sealer, row.id, SECRET.caCertificate)
      if (pem === undefined) throw new HowdahError('wrong-state', 'the cluster has no CA yet')
      return { pem }
    },
  )
  app.get(
    '/v1/parameters',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'The parameters that can be set, and what each accepts',
        response: { 200: Type.Object({ data: Type.Array(ParameterEntry) }) },
      },
    },
    async () => ({ data: Object.entries(PARAMETER_RULES).map(toParameterEntry) }),
  )
}

function toParameterEntry([name, rule]: [string, (typeof PARAMETER_RULES)[string]]) {
  const base = { name, type: rule.type as string, requires_restart: rule.restart === true }
  switch (rule.type) {
    case 'integer':
    case 'number':
      return { ...base, minimum: rule.minimum, maximum: rule.maximum }
    case 'size':
      return { ...base, minimum: rule.minimumBytes, maximum: rule.maximumBytes, unit: 'bytes' }
    case 'duration':
      return { ...base, minimum: rule.minimumMs, maximum: rule.maximumMs, unit: 'ms' }
    case 'enum':
      return { ...base, values: [...rule.values] }
    case 'pattern':
    case 'timezone':
      return { ...base, values: [rule.says] }
    case 'boolean':
      return base
  }
}

function registerCreate({ app, platform }: Api): void {
  app.post(
    '/v1/clusters',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Create a cluster; the password is shown in this reply only',
        body: ClusterCreate,
        response: { 202: ClusterAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const spec = await parseCreate(tx, request.body)
        const row = await insertCluster(tx, request.body.name, spec)
        const repository = await chooseRepository(tx, request.body.repository)
        if (repository !== undefined) {
          await assignRepository(tx, platform.sealer, row, repository.id)
        }
        const password = await ensureSecret(
          tx,
          platform.sealer,
          row.id,
          `role:${DEFAULT_ROLE}`,
          generatePassword,
        )
        const title = `create cluster ${row.name} with ${spec.instances} instances`
        const started = await startOperation(tx, request, createCluster, row, title, {})
        const credentials = { role: DEFAULT_ROLE, password, database: DEFAULT_DATABASE }
        const cluster = await showCluster(tx, row)
        return {
          status: 202,
          headers: { ...started.headers, etag: etag(row.version) },
          body: { cluster, operation: started.operation, credentials },
        }
      }),
  )
}

/** Whether a parameter that PostgreSQL reads only when it starts gets another value. */
function needsRestart(row: ClusterRow, spec: ClusterSpec): boolean {
  if (row.share === null) return false
  const valuesOf = (of: ClusterSpec) =>
    new Map(parametersOf(of, row.share as InstanceShare).map(({ name, value }) => [name, value]))
  const before = valuesOf(row.spec)
  const after = valuesOf(spec)
  return [...new Set([...before.keys(), ...after.keys()])].some(
    (name) => requiresRestart(name) && before.get(name) !== after.get(name),
  )
}

async function changeSpec(
  tx: Queryable,
  request: FastifyRequest,
  reference: string,
  change: Partial<Pick<ClusterSpec, 'durability' | 'sensitivity' | 'parameters' | 'labels'>>,
) {
  const found = await requireCluster(tx, reference)
  const row = (await lockCluster(tx, found.id)) as ClusterRow
  requireMatch(request, row.version)
  if (row.state !== 'available') {
    throw new HowdahError('wrong-state', `cluster ${row.name} is ${row.state}`)
  }
  if (change.durability === 'strict' && row.spec.instances === 1) {
    throw new HowdahError('bad-request', 'durability strict needs at least two instances')
  }
  const spec: ClusterSpec = {
    ...row.spec,
    ...change,
    ...(change.parameters === undefined ? {} : { parameters: parseParameters(change.parameters) }),
  }
  if (change.parameters !== undefined && row.share !== null) {
    requireSharedMemory(parametersOf(spec, row.share), row.share)
  }
  const changed = await updateClusterSpec(tx, row.id, row.version, spec)
  if (changed === undefined) throw new HowdahError('version-mismatch', 'changed meanwhile')
  await tellAgents(tx, row, spec)
  const title = `update cluster ${row.name}`
  const input = { restart: needsRestart(row, spec) }
  const started = await startOperation(tx, request, updateCluster, row, title, input)
  return {
    status: 202,
    headers: { ...started.headers, etag: etag(changed.version) },
    body: { cluster: await showCluster(tx, changed), operation: started.operation },
  }
}

/**
 * Agents judge the leader by these two, from their HostSpec. Before or after Patroni has the new
 * durability is the same: without a sync replica in the dcs they wait for the lease anyway.
 */
async function tellAgents(tx: Queryable, { id, spec }: ClusterRow, wanted: ClusterSpec) {
  if (wanted.durability === spec.durability && wanted.sensitivity === spec.sensitivity) return
  const places = [...(await listInstances(tx, id)), ...(await listGateways(tx, id))]
  await touchHosts(
    tx,
    places.map(({ host_id }) => host_id),
  )
}

function registerChange({ app, platform }: Api): void {
  app.patch(
    '/v1/clusters/:cluster',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change what is given; needs If-Match',
        params: Params,
        body: ClusterUpdate,
        response: { 202: ClusterAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, (tx) =>
        changeSpec(tx, request, request.params.cluster, request.body),
      ),
  )
  app.put(
    '/v1/clusters/:cluster',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Replace durability, parameters and labels; needs If-Match',
        params: Params,
        body: ClusterReplace,
        response: { 202: ClusterAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, (tx) =>
        changeSpec(tx, request, request.params.cluster, request.body),
      ),
  )
}

function registerDelete({ app, platform }: Api): void {
  app.delete(
    '/v1/clusters/:cluster',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Delete a cluster; it can be brought back until purge_at, unless purged at once',
        params: Params,
        body: ClusterDelete,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireCluster(tx, request.params.cluster)
        const row = (await lockCluster(tx, found.id)) as ClusterRow
        requireMatch(request, row.version)
        if (request.body.confirm !== row.name) {
          throw new HowdahError('confirmation-missing', `confirm must be ${row.name}`)
        }
        const purge = request.body.purge === true
        if (row.state === 'deleted' && !purge) {
          throw new HowdahError('wrong-state', `cluster ${row.name} is deleted already`)
        }
        const title = `${purge ? 'delete and purge' : 'delete'} cluster ${row.name}`
        const input = { purge, keepBackups: request.body.keep_backups === true }
        const started = await startOperation(tx, request, deleteCluster, row, title, input)
        await setClusterState(tx, row.id, 'deleting', title)
        return {
          status: 202,
          headers: started.headers,
          body: { operation: started.operation },
        }
      }),
  )
  app.post(
    '/v1/clusters/:cluster/undelete',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Bring a deleted cluster back with the data that it had',
        params: Params,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireCluster(tx, request.params.cluster)
        const row = (await lockCluster(tx, found.id)) as ClusterRow
        const other = await runningOperation(tx, row.id)
        if (row.state !== 'deleted' && other === undefined) {
          throw new HowdahError('wrong-state', `cluster ${row.name} is ${row.state}, not deleted`)
        }
        const title = `bring back cluster ${row.name}`
        const started = await startOperation(tx, request, undeleteCluster, row, title, {})
        await setClusterState(tx, row.id, 'restoring', title)
        return {
          status: 202,
          headers: started.headers,
          body: { operation: started.operation },
        }
      }),
  )
}
