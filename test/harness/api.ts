// Owns requests to a test platform's API: whatever the status, the reply is returned, so that a
// test can ask for a failure. Only a connection that breaks is thrown.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import https from 'node:https'
import { text } from 'node:stream/consumers'

export interface Connection {
  /** Origin, e.g. `https://127.63.0.100:7400`. */
  api: string
  token: string
  ca: string
}

export interface ApiReply<T = unknown> {
  status: number
  headers: IncomingHttpHeaders
  body: T
}

const REQUEST_TIMEOUT_MS = 30_000

/** `headers` win over the token and the content type; an empty value leaves one out. */
export async function requestApi<T>(
  connection: Connection,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<ApiReply<T>> {
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const wanted: Record<string, string> = {
    authorization: `Bearer ${connection.token}`,
    ...(payload === undefined
      ? {}
      : {
          'content-type': 'application/json',
          // Node frames no body of a DELETE by itself.
          'content-length': String(Buffer.byteLength(payload)),
        }),
    ...headers,
  }
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
  const response = await open(connection, { method, path, headers: wanted, payload, signal })
  const answer = await text(response)
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: parse(answer) as T,
  }
}

/** An event stream, open: read it as an async iterable of text chunks; destroy it to hang up. */
export async function openStream(
  connection: Connection,
  path: string,
  lastEventId: string | undefined,
): Promise<IncomingMessage> {
  const headers: Record<string, string> = { authorization: `Bearer ${connection.token}` }
  if (lastEventId !== undefined) headers['last-event-id'] = lastEventId
  const response = await open(connection, { method: 'GET', path, headers })
  if (response.statusCode === 200) return response.setEncoding('utf8')
  throw new Error(`GET ${path}: ${response.statusCode} ${await text(response)}`)
}

function parse(answer: string): unknown {
  try {
    return answer === '' ? undefined : JSON.parse(answer)
  } catch {
    return answer
  }
}

function open(
  connection: Connection,
  request: {
    method: string
    path: string
    headers: Record<string, string>
    payload?: string | undefined
    signal?: AbortSignal
  },
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([, value]) => value !== ''),
  )
  https
    .request(
      new URL(request.path, connection.api),
      {
        method: request.method,
        headers,
        ca: connection.ca,
        agent: false,
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      },
      resolve,
    )
    .on('error', reject)
    .end(request.payload)
  return promise
}
