// Owns a store that misbehaves on demand: HTTPS in front of a real S3 server, which passes requests
// on, or answers, stalls, cuts and lies as it is told. What is faulty is the way to the store, the
// objects in it are the server's own.
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { issueCertificate } from '../../control-plane/src/certificates.ts'
import { STORE_NAMES, startS3, type TestS3 } from './s3.ts'

export type S3Fault =
  /** With a store's own words. */
  | { kind: 'answer'; status: number; code: string }
  /** Takes the request, and never says anything. */
  | { kind: 'stall' }
  /** Hangs up once that much of a body has come. */
  | { kind: 'cut'; afterBytes: number }
  /** In both directions. */
  | { kind: 'slow'; bytesPerSecond: number }
  /** Says that it keeps what it throws away. */
  | { kind: 'forget' }
  /** Its certificate ran out a moment ago. */
  | { kind: 'expired' }

export interface FaultySettings {
  fault: S3Fault
  /** Only requests whose `METHOD /path?query` it matches. */
  concerns?: RegExp
}

export interface FaultyS3 extends TestS3 {
  /** From the next request on; undefined: everything is passed on. */
  misbehave(settings: FaultySettings | undefined): Promise<void>
  /** Requests that met the fault since it was set. */
  hits(): number
}

const ADDRESS = '127.0.0.1'
const TICK_MS = 100

interface State {
  settings: FaultySettings | undefined
  hits: number
}

export async function startFaultyS3(): Promise<FaultyS3> {
  const store = await startS3()
  const { authority } = store
  const issue = (days: number) => issueCertificate(authority, 'localhost', STORE_NAMES, days)
  const [valid, expired] = await Promise.all([issue(1), issue(-1 / (24 * 60))])
  const contextOf = ({ certificatePem: cert, keyPem: key }: typeof valid) => ({ cert, key })
  const agent = new https.Agent({ keepAlive: true, ca: store.caPem })
  const state: State = { settings: undefined, hits: 0 }
  const server = https.createServer(contextOf(valid), (request, response) => {
    answer({ store, agent, state }, request, response).catch(() => response.destroy())
  })
  let port = 0
  const start = async () => {
    server.listen(port, ADDRESS)
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const stop = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await start()
  return {
    ...store,
    port,
    start,
    stop,
    hits: () => state.hits,
    async misbehave(settings) {
      state.settings = settings
      state.hits = 0
      server.setSecureContext(contextOf(settings?.fault.kind === 'expired' ? expired : valid))
      // A connection that is kept would go on with the certificate that it was made with.
      server.closeAllConnections()
    },
    async [Symbol.asyncDispose]() {
      await stop()
      agent.destroy()
      await store[Symbol.asyncDispose]()
    },
  }
}

interface Way {
  store: TestS3
  agent: https.Agent
  state: State
}

async function answer(way: Way, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { settings } = way.state
  const isMet = settings?.concerns?.test(`${request.method} ${request.url}`) ?? true
  if (settings === undefined || !isMet) return passOn(way, request, response)
  way.state.hits += 1
  const { fault } = settings
  switch (fault.kind) {
    case 'answer':
      request.resume()
      response.writeHead(fault.status, { 'content-type': 'application/xml' })
      return void response.end(
        `<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>as told</Message></Error>`,
      )
    case 'stall':
      return void request.resume()
    case 'cut':
      return cutAfter(request, response, fault.afterBytes)
    case 'forget':
      if (request.method !== 'PUT') return passOn(way, request, response)
      request.resume()
      await once(request, 'end')
      response.writeHead(200, { etag: '"d41d8cd98f00b204e9800998ecf8427e"' })
      return void response.end()
    case 'slow':
      return passOn(way, request, response, fault.bytesPerSecond)
    case 'expired':
      return passOn(way, request, response)
  }
}

async function cutAfter(
  request: IncomingMessage,
  response: ServerResponse,
  afterBytes: number,
): Promise<void> {
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes >= afterBytes) break
  }
  response.destroy()
}

async function passOn(
  { store, agent }: Way,
  request: IncomingMessage,
  response: ServerResponse,
  bytesPerSecond?: number,
): Promise<void> {
  const upstream = https.request({
    host: store.endpoint,
    port: store.port,
    // Whatever the client calls it.
    servername: store.endpoint,
    agent,
    method: request.method,
    path: request.url,
    headers: request.headers,
  })
  const answered = once(upstream, 'response')
  await Promise.all([
    pipeline(throttle(request, bytesPerSecond), upstream),
    answered.then(async ([reply]: IncomingMessage[]) => {
      if (reply === undefined) return response.destroy()
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      await pipeline(throttle(reply, bytesPerSecond), response)
    }),
  ])
}

async function* throttle(input: AsyncIterable<Buffer>, bytesPerSecond = Number.POSITIVE_INFINITY) {
  const step = Math.max(1, Math.floor((bytesPerSecond * TICK_MS) / 1000))
  for await (const chunk of input) {
    if (!Number.isFinite(bytesPerSecond)) {
      yield chunk
      continue
    }
    for (let at = 0; at < chunk.length; at += step) {
      yield chunk.subarray(at, at + step)
      await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    }
  }
}
