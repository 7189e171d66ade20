// Owns /v1/hosts and /v1/dcs.
import { randomBytes } from 'node:crypto'
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { Dcs, DcsCreate, EnrolmentToken, Host, HostCreate } from '@howdah/core/contract/hosts.ts'
import { PageQuery, pageOf, ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import type { Queryable } from '../database.ts'
import { addEvent } from '../db/events.ts'
import {
  deleteHost,
  findHost,
  type HostRow,
  hostState,
  insertDcs,
  insertHost,
  isHostUsed,
  listHosts,
  readDcs,
  replaceEnrolmentToken,
  toHost,
} from '../db/hosts.ts'
import { insertOperation, listSteps, toOperation } from '../db/operations.ts'
import { createDcs } from '../operations/create-dcs.ts'
import { sha256 } from '../sealing.ts'
import { userOf } from './access.ts'
import type { Api } from './app.ts'
import { mutate } from './mutation.ts'
import { parseCursor, toPage } from './page.ts'

const ENROLMENT_MINUTES = 15
const ETCD_CLIENT_PORT = 2379
const ETCD_PEER_PORT = 2380
const HostParams = Type.Object({ host: ResourceRef })
const tags = ['hosts']

async function requireHost(db: Queryable, reference: string): Promise<HostRow> {
  const host = await findHost(db, reference)
  if (host === undefined) throw new HowdahError('not-found', `there is no host ${reference}`)
  return host
}

export function registerHosts(api: Api): void {
  registerHostReading(api)
  registerHostCreation(api)
  registerHostDeletion(api)
  registerEnrolment(api)
  registerDcs(api)
}

function registerHostReading({ app, platform }: Api): void {
  const { database } = platform

  app.get(
    '/v1/hosts',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List hosts',
        querystring: PageQuery,
        response: { 200: pageOf(Host) },
      },
    },
    async ({ query }) => {
      const rows = await listHosts(database, parseCursor(query.cursor), query.limit + 1)
      return toPage(rows, query.limit, toHost)
    },
  )

  app.get(
    '/v1/hosts/:host',
    {
      config: { access: 'read' },
      schema: { tags, summary: 'Show a host', params: HostParams, response: { 200: Host } },
    },
    async (request) => toHost(await requireHost(database, request.params.host)),
  )
}

function registerHostCreation({ app, platform }: Api): void {
  app.post(
    '/v1/hosts',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Add a host; its agent enrols with a token of its own',
        body: HostCreate,
        response: { 201: Host },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const { name, address, role, source_addresses, labels } = request.body
        const host = await insertHost(tx, {
          name,
          address,
          role: role ?? 'data',
          sourceAddresses: source_addresses ?? [],
          labels: labels ?? {},
        })
        await addEvent(tx, {
          kind: 'host.created',
          message: `host ${name} was added by ${userOf(request).name}`,
          hostId: host.id,
        })
        return { status: 201, body: toHost(host), headers: { location: `/v1/hosts/${host.id}` } }
      }),
  )
}

function registerHostDeletion({ app, platform }: Api): void {
  app.delete(
    '/v1/hosts/:host',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Remove a host that runs nothing; its certificate is refused from now on',
        params: HostParams,
        response: { 204: Type.Null() },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const host = await requireHost(tx, request.params.host)
        if (await isHostUsed(tx, host.id)) {
          throw new HowdahError('wrong-state', `host ${host.name} still runs something`)
        }
        await deleteHost(tx, host.id)
        await addEvent(tx, {
          kind: 'host.deleted',
          message: `host ${host.name} was removed by ${userOf(request).name}`,
        })
        return { status: 204, body: null }
      }),
  )
}

function registerEnrolment({ app, platform, caFingerprint }: Api): void {
  app.post(
    '/v1/hosts/:host/enrolment-token',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'A token with which an agent becomes this host, once, within 15 minutes',
        params: HostParams,
        response: { 201: EnrolmentToken },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const host = await requireHost(tx, request.params.host)
        if (hostState(host) === 'online') {
          throw new HowdahError('wrong-state', `host ${host.name} is online with an agent`)
        }
        const secret = randomBytes(32).toString('base64url')
        const expiresAt = await replaceEnrolmentToken(
          tx,
          host.id,
          sha256(secret),
          ENROLMENT_MINUTES,
        )
        const token = `hwd1.${secret}.${caFingerprint}`
        const body = { host: toHost(host), token, expires_at: expiresAt.toISOString() }
        return { status: 201, body }
      }),
  )
}

async function showDcs(db: Queryable) {
  const dcs = await readDcs(db)
  const hosts = new Map((await listHosts(db)).map((host) => [host.id, host]))
  return {
    state: dcs.state,
    members: dcs.members.map((member) => {
      const host = hosts.get(member.host_id)
      const service = host?.services.find((candidate) => candidate.name === 'etcd')
      return {
        name: member.name,
        host: host?.name ?? '',
        address: host?.address ?? '',
        client_port: member.client_port,
        ready: host?.online === true && service?.ready === true,
      }
    }),
  }
}

async function requireOnlineHosts(tx: Queryable, references: string[]): Promise<HostRow[]> {
  const hosts: HostRow[] = []
  for (const reference of references) hosts.push(await requireHost(tx, reference))
  const away = hosts.find((host) => hostState(host) !== 'online')
  if (away !== undefined) throw new HowdahError('wrong-state', `host ${away.name} is not online`)
  if (new Set(hosts.map((host) => host.id)).size !== hosts.length) {
    throw new HowdahError('bad-request', 'a host is named twice')
  }
  return hosts
}

function registerDcs({ app, platform }: Api): void {
  const { database } = platform
  app.get(
    '/v1/dcs',
    {
      config: { access: 'read' },
      schema: { tags, summary: 'Show the dcs (etcd)', response: { 200: Dcs } },
    },
    () => showDcs(database),
  )

  app.post(
    '/v1/dcs',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Create the dcs on these hosts',
        body: DcsCreate,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const hosts = await requireOnlineHosts(tx, request.body.hosts)
        const members = hosts.map((host) => ({
          host_id: host.id,
          name: `etcd-${host.name}`,
          client_port: ETCD_CLIENT_PORT,
          peer_port: ETCD_PEER_PORT,
        }))
        if (!(await insertDcs(tx, members))) {
          throw new HowdahError('wrong-state', 'there is a dcs already')
        }
        const row = await insertOperation(tx, {
          kind: createDcs.kind,
          title: `create the dcs on ${hosts.map((host) => host.name).join(', ')}`,
          clusterId: null,
          clusterName: null,
          input: {},
          steps: createDcs.steps,
          createdBy: userOf(request).name,
        })
        const operation = toOperation(row, await listSteps(tx, [row.id]))
        const headers = { location: `/v1/operations/${row.id}` }
        return { status: 202, body: { operation }, headers }
      }),
  )
}
