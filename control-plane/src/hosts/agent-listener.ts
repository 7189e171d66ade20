// Owns the agents' side of the control plane: enrolment, renewal, the long poll and reports, over
// mTLS. An agent is who its certificate says; nothing in a body can make it another host.
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { DISK_NEWS, diskNews, isNearLow } from '@howdah/core/disk-space.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { isId, newId } from '@howdah/core/ids.ts'
import {
  EnrolReply,
  EnrolRequest,
  type GuardEvent,
  PROTOCOL_PATH,
  RenewReply,
  RenewRequest,
  ReportReply,
  ReportRequest,
  SYNC_HOLD_MS,
  SyncReply,
  SyncRequest,
} from '@howdah/core/protocol.ts'
import fastify, { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { answerUnreadable, makeErrorHandler } from '../api/error-handler.ts'
import { refuseUnstorableText } from '../api/validation.ts'
import { type Authority, type IssuedCertificate, signRequest } from '../certificates.ts'
import { notifyChange } from '../changes.ts'
import type { Queryable } from '../database.ts'
import { findCluster, isClusterOnHost } from '../db/clusters.ts'
import { addEvent, lastEventKind } from '../db/events.ts'
import { insertGuardEvent } from '../db/guard-events.ts'
import {
  findHost,
  type HostRow,
  recordFacts,
  recordReport,
  useEnrolmentToken,
} from '../db/hosts.ts'
import { askForStanzaCheck } from '../db/repositories.ts'
import { listPendingTasks, listWithdrawnTasks, recordResult } from '../db/tasks.ts'
import type { Platform } from '../operations/operation.ts'
import { sha256 } from '../sealing.ts'
import { tellCanaries } from './canary-news.ts'
import { loadHostSpec } from './render-input.ts'

const CERTIFICATE_DAYS = 1
const BODY_BYTES_MAX = 4 * 1024 * 1024

declare module 'fastify' {
  interface FastifyRequest {
    agentHost: HostRow | undefined
  }
}

export interface AgentListenerOptions {
  platform: Platform
  authority: Authority
  tls: SecureContextOptions
}

/** The host id in the client certificate; the chain was verified by TLS against the platform CA. */
async function authenticate(platform: Platform, request: FastifyRequest): Promise<HostRow> {
  const socket = request.raw.socket as TLSSocket
  const name = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined
  const id = Array.isArray(name) ? undefined : name
  const host =
    id !== undefined && isId('host', id) ? await findHost(platform.database, id) : undefined
  if (host === undefined || host.revoked_at !== null) {
    throw new HowdahError('not-authenticated', 'a certificate of an enrolled host is needed')
  }
  return host
}

export function agentTls(issued: IssuedCertificate, authority: Authority): SecureContextOptions {
  return {
    ca: [authority.certificatePem],
    cert: issued.certificatePem + authority.certificatePem,
    key: issued.keyPem,
    minVersion: 'TLSv1.3',
  }
}

export function makeAgentListener(options: AgentListenerOptions) {
  const { platform, authority, tls } = options
  const app = fastify({
    loggerInstance: platform.log.child({ listener: 'agents' }, { level: 'warn' }),
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => newId('request'),
    requestIdHeader: false,
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    frameworkErrors: makeErrorHandler(platform.log),
    clientErrorHandler: answerUnreadable,
    https: {
      ...tls,
      requestCert: true,
      rejectUnauthorized: false,
    },
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.setErrorHandler(makeErrorHandler(platform.log))
  app.removeContentTypeParser('text/plain')
  app.setNotFoundHandler((request) => {
    throw new HowdahError('not-found', `there is no route ${request.method} ${request.url}`)
  })
  app.decorateRequest('agentHost', undefined)
  app.addHook('onRequest', async (request) => {
    if (request.url === `${PROTOCOL_PATH}/enrol`) return
    request.agentHost = await authenticate(platform, request)
  })
  app.addHook('preValidation', refuseUnstorableText)
  app.post(
    `${PROTOCOL_PATH}/enrol`,
    { schema: { body: EnrolRequest, response: { 200: EnrolReply } } },
    (request) => enrol(options, request.body),
  )
  app.post(
    `${PROTOCOL_PATH}/renew`,
    { schema: { body: RenewRequest, response: { 200: RenewReply } } },
    async (request) => ({
      certificatePem: await signForHost(authority, request.body.csrPem, hostOf(request).id),
      caPem: authority.certificatePem,
    }),
  )
  app.post(
    `${PROTOCOL_PATH}/sync`,
    { schema: { body: SyncRequest, response: { 200: SyncReply } } },
    (request, reply) => sync(platform, hostOf(request).id, request.body, reply),
  )
  app.post(
    `${PROTOCOL_PATH}/report`,
    { schema: { body: ReportRequest, response: { 200: ReportReply } } },
    (request) => report(platform, hostOf(request), request.body),
  )
  return app
}

function hostOf(request: FastifyRequest): HostRow {
  if (request.agentHost === undefined) throw new Error('BUG: an agent route without a host')
  return request.agentHost
}

async function signForHost(authority: Authority, csrPem: string, hostId: string): Promise<string> {
  try {
    return await signRequest(authority, csrPem, hostId, CERTIFICATE_DAYS)
  } catch (cause) {
    throw new HowdahError('bad-request', 'the certificate request cannot be read', { cause })
  }
}

async function enrol(
  { platform, authority }: AgentListenerOptions,
  body: { token: string; csrPem: string },
) {
  const secret = body.token.split('.')[1] ?? ''
  // Signed inside the transaction: a request that cannot be signed does not use the token up.
  const enrolled = await platform.database.transaction(async (tx) => {
    const hostId = await useEnrolmentToken(tx, sha256(secret))
    if (hostId === undefined) {
      throw new HowdahError('enrolment-refused', 'this enrolment token is not valid (any more)')
    }
    const certificatePem = await signForHost(authority, body.csrPem, hostId)
    await addEvent(tx, { kind: 'host.enrolled', message: 'an agent enrolled', hostId })
    return { hostId, certificatePem }
  })
  return { ...enrolled, caPem: authority.certificatePem }
}

/**
 * Answers when there is a newer spec or a task that the agent does not know, or when the hold is
 * over.
 */
async function sync(
  platform: Platform,
  hostId: string,
  body: SyncRequest,
  reply: FastifyReply,
): Promise<SyncReply> {
  const { database, sealer, changes } = platform
  await database.transaction(async (tx) => {
    const before = await recordFacts(tx, hostId, body.facts)
    if (![before, body.facts].some((disk) => disk !== undefined && isNearLow(disk))) return
    const told = await lastEventKind(tx, hostId, DISK_NEWS)
    const news = diskNews(told === 'host.disk-low', body.facts)
    if (news !== undefined) await addEvent(tx, { ...news, hostId })
  })
  const gone = new AbortController()
  reply.raw.on('close', () => gone.abort())
  const answer = await changes.waitUntil(
    [`host:${hostId}`],
    Date.now() + SYNC_HOLD_MS,
    async () => {
      const tasks = await listPendingTasks(database, sealer, hostId, body.knownTasks)
      const withdrawn = await listWithdrawnTasks(database, hostId)
      const host = await findHost(database, hostId)
      const newer = host !== undefined && host.desired_revision > body.heldRevision
      const spec = newer ? await loadHostSpec(database, sealer, hostId) : undefined
      if (spec === undefined && tasks.length === 0 && withdrawn.length === 0) return undefined
      return spec === undefined ? { tasks, withdrawn } : { spec, tasks, withdrawn }
    },
    gone.signal,
  )
  return answer ?? { tasks: [] }
}

async function report(
  platform: Platform,
  host: HostRow,
  body: ReportRequest,
): Promise<ReportReply> {
  await platform.database.transaction(async (tx) => {
    await recordReport(tx, host.id, body)
    for (const result of body.results) await recordResult(tx, host.id, result)
    await notifyChange(tx, `report:${host.id}`)
    for (const event of body.events ?? []) await storeGuardEvent(tx, host, event)
    await tellCanaries(tx, host, body.canaries ?? [])
    if (!host.online) {
      await addEvent(tx, {
        kind: 'host.online',
        message: `host ${host.name} is online`,
        hostId: host.id,
      })
    }
  })
  return {
    storedResults: body.results.map((result) => result.id),
    storedEvents: (body.events ?? []).map((event) => event.id),
  }
}

/** Only of clusters that have something on this host: a host cannot tell stories about others. */
async function storeGuardEvent(tx: Queryable, host: HostRow, event: GuardEvent): Promise<void> {
  if (!(await isClusterOnHost(tx, event.clusterId, host.id))) return
  // A later change of the durability must not rewrite what this event says was lost.
  const durability = (await findCluster(tx, event.clusterId))?.spec.durability
  const complete = durability === undefined ? event : { durability, ...event }
  if (!(await insertGuardEvent(tx, host.id, complete))) return
  // The leader before had something to archive yet, as it seems to the one after it.
  if (event.kind === 'leader-changed') await askForStanzaCheck(tx, event.clusterId)
  await addEvent(tx, {
    kind: `guard.${event.kind}`,
    message: `${event.instance}: ${event.message}`,
    clusterId: event.clusterId,
    hostId: host.id,
    data: { ...event },
  })
}
