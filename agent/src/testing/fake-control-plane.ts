// Owns a control plane for the agent's tests: the protocol over real mTLS, with the state in
// memory and in the test's hands.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { ReportRequest, SyncRequest, Task, TaskResult } from '@howdah/core/protocol.ts'
import type { TestAuthority } from './test-authority.ts'

export interface FakeControlPlane {
  url: string
  spec: unknown
  tasks: Task[]
  certificateLifeMs: number
  enrolments: number
  renewals: number
  syncs: SyncRequest[]
  reports: ReportRequest[]
  results: Map<string, TaskResult>
  /** Forgets nothing, but stops to acknowledge results while true. */
  storeNothing: boolean
  /** Answers every sync with this text, whatever it is. */
  syncOverride: string | undefined
  close(): Promise<void>
}

interface Options {
  authority: TestAuthority
  address: string
  hostId: string
  secret: string
}

interface Fake extends Options {
  state: FakeControlPlane
}

/** Each request with a status and what goes into the body; a string goes as it is. */
type Answer = [status: number, reply: unknown]

export async function startFakeControlPlane(options: Options): Promise<FakeControlPlane> {
  const { authority, address } = options
  const server = await authority.issueServer(address)
  const https = createServer({
    key: server.privateKeyPem,
    cert: `${server.certificatePem}\n${authority.caPem}`,
    ca: authority.caPem,
    requestCert: true,
    rejectUnauthorized: false,
  })
  const close = () =>
    new Promise<void>((resolve) => {
      https.close(() => resolve())
      https.closeAllConnections()
    })
  const fake = { ...options, state: makeState(close) }
  https.on('request', (request, response) => void respond(fake, request, response))
  await new Promise<void>((resolve) => https.listen(0, address, resolve))
  const bound = https.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  fake.state.url = `https://${address}:${bound.port}`
  return fake.state
}

function makeState(close: () => Promise<void>): FakeControlPlane {
  return {
    url: '',
    spec: undefined,
    tasks: [],
    certificateLifeMs: 3_600_000,
    enrolments: 0,
    renewals: 0,
    syncs: [],
    reports: [],
    results: new Map(),
    storeNothing: false,
    syncOverride: undefined,
    close,
  }
}

async function respond(
  fake: Fake,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = await request.toArray()
  const body = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  const known = (request.socket as TLSSocket).authorized
  const [status, reply] = await answer(fake, request.url ?? '', body, known)
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(typeof reply === 'string' ? reply : JSON.stringify(reply))
}

// biome-ignore lint/suspicious/noExplicitAny: whatever the agent sent
async function answer(fake: Fake, path: string, body: any, known: boolean): Promise<Answer> {
  const { state } = fake
  if (path === '/agent/v1/enrol') {
    if (body.token !== `hwd1.${fake.secret}.${fake.authority.caDigest}`) return [403, {}]
    state.enrolments += 1
    return [200, { hostId: fake.hostId, ...(await sign(fake, body.csrPem)) }]
  }
  if (!known) return [401, {}]
  if (path === '/agent/v1/renew') {
    state.renewals += 1
    return [200, await sign(fake, body.csrPem)]
  }
  if (path === '/agent/v1/report') return [200, takeReport(state, body)]
  if (path === '/agent/v1/sync') return [200, await holdSync(state, body)]
  return [404, {}]
}

async function sign(fake: Fake, csrPem: string) {
  const { authority, hostId, state } = fake
  const certificatePem = await authority.signRequest(csrPem, hostId, state.certificateLifeMs)
  return { certificatePem, caPem: authority.caPem }
}

function takeReport(state: FakeControlPlane, report: ReportRequest) {
  state.reports.push(report)
  for (const result of report.results) state.results.set(result.id, result)
  return { storedResults: state.storeNothing ? [] : report.results.map((result) => result.id) }
}

async function holdSync(state: FakeControlPlane, request: SyncRequest) {
  state.syncs.push(request)
  const known = new Set(request.knownTasks)
  for (let held = 0; held < 40; held += 1) {
    if (state.syncOverride !== undefined) return state.syncOverride
    const spec = state.spec as HostSpec | undefined
    const news = spec !== undefined && spec.revision !== request.heldRevision
    const tasks = state.tasks.filter((task) => !known.has(task.id) && !state.results.has(task.id))
    if (news || tasks.length > 0) return { ...(news ? { spec } : {}), tasks }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  return { tasks: [] }
}
