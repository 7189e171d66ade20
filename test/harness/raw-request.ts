// Owns requests that an honest client never makes: any bytes as body, any path, any header, any
// client certificate, and bytes that are no HTTP at all. A reply is read up to a bound, so that a
// stream can be asked, too.
import type { IncomingHttpHeaders } from 'node:http'
import https from 'node:https'
import { connect } from 'node:tls'

export interface RawRequest {
  method: string
  /** Sent as it is. */
  path: string
  headers?: Record<string, string | string[]>
  body?: Buffer | string | undefined
  /** A client certificate. */
  identity?: { certificatePem: string; privateKeyPem: string }
}

export interface RawReply {
  status: number
  headers: IncomingHttpHeaders
  text: string
}

const TIMEOUT_MS = 15_000
const REPLY_BYTES_MAX = 4 * 1024 * 1024

/** The other side hung up without an answer. */
class HungUp extends Error {}

/**
 * `origin` is not verified: who answers is not what these tests are about. Whoever is hung up on
 * asks once more, over a connection of its own, as clients do: a kept one may have ended just then.
 * What ends a server does so again.
 */
export async function requestRaw(
  origin: string,
  request: RawRequest,
  agent?: https.Agent,
): Promise<RawReply> {
  try {
    return await requestOnce(origin, request, agent)
  } catch (error) {
    if (!(error instanceof HungUp)) throw error
    return requestOnce(origin, request)
  }
}

function requestOnce(origin: string, request: RawRequest, agent?: https.Agent): Promise<RawReply> {
  const { hostname, port } = new URL(origin)
  const { body, identity } = request
  const headers = { ...request.headers }
  const framed = Object.keys(headers).some((name) => /^(content-length|transfer-enc)/i.test(name))
  if (body !== undefined && !framed) headers['content-length'] = String(Buffer.byteLength(body))
  const { promise, resolve, reject } = Promise.withResolvers<RawReply>()
  const outgoing = https.request({
    hostname,
    port,
    method: request.method,
    path: request.path,
    headers,
    rejectUnauthorized: false,
    timeout: TIMEOUT_MS,
    ...(agent === undefined ? { agent: false as const } : { agent }),
    ...(identity === undefined
      ? {}
      : { cert: identity.certificatePem, key: identity.privateKeyPem }),
  })
  const said = `${request.method} ${request.path.slice(0, 200)}`
  outgoing.on('error', (cause: NodeJS.ErrnoException) => {
    const Kind = cause.code === 'EPIPE' || cause.code === 'ECONNRESET' ? HungUp : Error
    reject(new Kind(said, { cause }))
  })
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
  outgoing.on('response', (response) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const finish = () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        text: Buffer.concat(chunks).toString('utf8'),
      })
    // A stream of events has no end: its head and first bytes are the answer.
    const endless = String(response.headers['content-type']).startsWith('text/event-stream')
    response.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (endless || bytes > REPLY_BYTES_MAX) {
        finish()
        outgoing.destroy()
      }
    })
    response.on('end', finish)
    response.on('error', reject)
  })
  outgoing.end(body)
  return promise
}

/** Sends bytes over TLS and returns all that comes back until the other side hangs up. */
export function sendBytes(origin: string, bytes: Buffer | string): Promise<string> {
  const { hostname, port } = new URL(origin)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const chunks: Buffer[] = []
  const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false })
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('not hung up in time')))
  socket.on('secureConnect', () => socket.write(bytes))
  socket.on('data', (chunk) => chunks.push(chunk))
  // Hanging up on bytes that were not read yet resets the connection: after the answer that is
  // fine.
  socket.on('error', (error) => (chunks.length > 0 ? undefined : reject(error)))
  socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')))
  return promise
}
