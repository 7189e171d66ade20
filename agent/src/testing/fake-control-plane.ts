// Owns a control plane for the agent's tests: the protocol over real mTLS, with the state in
// memory and in the test's hands.
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

export async function startFakeControlPlane(options: {
  authority: TestAuthority
  address: string
  hostId: string
  secret: string
}): Promise<FakeControlPlane> {
  const { authority, address, hostId } = options
  const server = await authority.issueServer(address)
  const https = createServer({
    key: server.privateKeyPem,
    cert: `${server.certificatePem}\n${authority.caPem}`,
    ca: authority.caPem,
    requestCert: true,
    rejectUnauthorized: false,
  })
  const state: FakeControlPlane = {
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
    close: () =>
      new Promise((resolve) => {
        https.close(() => resolve())
        https.closeAllConnections()
      }),
  }
  https.on('request', (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', async () => {
      const body = JSON.parse(Buffer.concat(chunks).toString('utf8'))
      const authorized = (request.socket as TLSSocket).authorized
      const [status, reply] = await answer(request.url ?? '', body, authorized)
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(typeof reply === 'string' ? reply : JSON.stringify(reply))
    })
  })

  // biome-ignore lint/suspicious/noExplicitAny: whatever the agent sent
  async function answer(path: string, body: any, known: boolean): Promise<[number, unknown]> {
    if (path === '/agent/v1/enrol') {
      if (body.token !== `hwd1.${options.secret}.${authority.caDigest}`) return [403, {}]
      state.enrolments += 1
      return [200, { hostId, ...(await sign(body.csrPem)) }]
    }
    if (!known) return [401, {}]
    if (path === '/agent/v1/renew') {
      state.renewals += 1
      return [200, await sign(body.csrPem)]
    }
    if (path === '/agent/v1/report') return [200, takeReport(body)]
    if (path === '/agent/v1/sync') return [200, await holdSync(body)]
    return [404, {}]
  }

  async function sign(csrPem: string) {
    const life = state.certificateLifeMs
    return {
      certificatePem: await authority.signRequest(csrPem, hostId, life),
      caPem: authority.caPem,
    }
  }

  function takeReport(report: ReportRequest) {
    state.reports.push(report)
    for (const result of report.results) state.results.set(result.id, result)
    return { storedResults: state.storeNothing ? [] : report.results.map((result) => result.id) }
  }

  async function holdSync(request: SyncRequest) {
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

  await new Promise<void>((resolve) => https.listen(0, address, resolve))
  const bound = https.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  state.url = `https://${address}:${bound.port}`
  return state
}
