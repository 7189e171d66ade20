// Owns one HTTPS request with JSON in it: bounded in time and size, over a keep-alive agent that
// holds the TLS settings. Any HTTP status is a result; only what prevents a reply is an error.
import { Agent, request } from 'node:https'
import { hasCode } from './atomic-file.ts'

export interface HttpsRequest {
  agent: Agent
  url: string
  method: 'GET' | 'POST' | 'PATCH'
  headers?: Record<string, string>
  /** Sent as JSON when defined. */
  body?: unknown
  timeoutMs: number
  responseBytesMax: number
  signal?: AbortSignal | undefined
}

export interface HttpsResponse {
  status: number
  text: string
}

export interface TlsTrust {
  caPem: string
  certificatePem?: string
  privateKeyPem?: string
  /** False: any certificate of this CA will do, for services of our own that have no name yet. */
  checkName: boolean
}

export function makeHttpsAgent(trust: TlsTrust): Agent {
  return new Agent({
    keepAlive: true,
    maxSockets: 8,
    maxFreeSockets: 2,
    minVersion: 'TLSv1.2',
    ca: trust.caPem,
    ...(trust.certificatePem === undefined ? {} : { cert: trust.certificatePem }),
    ...(trust.privateKeyPem === undefined ? {} : { key: trust.privateKeyPem }),
    ...(trust.checkName ? {} : { checkServerIdentity: () => undefined }),
  })
}

export async function sendRequest(options: HttpsRequest): Promise<HttpsResponse> {
  const deadline = performance.now() + options.timeoutMs
  try {
    return await sendOnce(options, options.timeoutMs)
  } catch (error) {
    // The peer may close an idle connection at the moment when we pick it; a new one tells. All
    // our requests may be repeated.
    const stale = error instanceof StaleConnection
    if (!stale) throw error
    return await sendOnce(options, Math.max(1, deadline - performance.now()))
  }
}

class StaleConnection extends Error {}

function sendOnce(options: HttpsRequest, timeoutMs: number): Promise<HttpsResponse> {
  return new Promise((resolve, reject) => {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body)
    const sent = request(options.url, {
      agent: options.agent,
      method: options.method,
      headers: {
        accept: 'application/json',
        ...options.headers,
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
    })
    const abort = () => sent.destroy(new Error('stopped'))
    const timer = setTimeout(() => {
      const late = new Error(`no reply within ${Math.round(timeoutMs)} ms`)
      sent.destroy(late)
      // One that is destroyed already says nothing more.
      settle(() => reject(late))
    }, timeoutMs)
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', abort)
      finish()
    }
    options.signal?.addEventListener('abort', abort, { once: true })
    if (options.signal?.aborted) abort()
    sent.on('error', (error) => {
      const stale = sent.reusedSocket && hasCode(error, 'ECONNRESET', 'EPIPE')
      settle(() => reject(stale ? new StaleConnection(error.message) : error))
    })
    const closed = () => settle(() => reject(new Error('the connection was closed')))
    sent.once('close', closed)
    sent.on('response', (response) => {
      // From here on the reply tells; its request may be closed before all of it was read.
      sent.removeListener('close', closed)
      response.on('close', closed)
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= options.responseBytesMax) chunks.push(chunk)
        else sent.destroy(new Error(`the reply exceeds ${options.responseBytesMax} bytes`))
      })
      response.on('error', (error) => settle(() => reject(error)))
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        settle(() => resolve({ status: response.statusCode ?? 0, text }))
      })
    })
    sent.end(body)
  })
}
