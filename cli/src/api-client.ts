// Owns talking to the control plane's API: the platform's authority pinned, a deadline on every
// request, one Idempotency-Key per mutation that its retries share, problems turned into
// HowdahErrors. node:https instead of fetch: it loads in a tenth of the time, and start-up is what
// a person waits for.
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { HowdahError } from '@howdah/core/errors.ts'
import { parseProblem } from './problem.ts'

const ATTEMPTS_MAX = 4 // the first and three retries
const RETRY_DELAY_MS = 200
const RETRY_DELAY_MS_MAX = 5_000
const RESPONSE_BYTES_MAX = 16 * 1024 * 1024
const PAGE_COUNT_MAX = 100

export interface ApiClientOptions {
  api: string
  token: string
  caPem: string | undefined
  userAgent: string
  /** For one attempt; 30 s unless given. */
  deadlineMs?: number
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
export type Query = Record<string, string | number | boolean | undefined>

/** A request body: keys that are undefined are not sent. */
export type Body<T> = { [Key in keyof T]: T[Key] | undefined }

export interface RequestOptions {
  query?: Query
  body?: unknown
  /** The version that the change is based on. */
  ifMatch?: string | number
}

export interface Reply<T> {
  status: number
  /** Empty when the resource has none. */
  etag: string
  data: T
}

export interface ApiClient {
  request<T>(method: Method, path: string, options?: RequestOptions): Promise<Reply<T>>
  get<T>(path: string, query?: Query): Promise<T>
  /** All pages, up to 20,000 items. */
  list<T>(path: string, query?: Query): Promise<T[]>
  /** The open response of an event stream; ends when `signal` is aborted. */
  openStream(
    path: string,
    options: { query: Query; lastEventId: string | undefined; signal: AbortSignal },
  ): Promise<IncomingMessage>
}

export function makeApiClient(options: ApiClientOptions): ApiClient {
  const origin = new URL(options.api)
  const agent = new https.Agent({
    keepAlive: true,
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED cannot switch verification off.
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ...(options.caPem === undefined ? {} : { ca: options.caPem }),
  })
  const transport: Transport = { options, origin, agent }
  const request = <T>(method: Method, path: string, wanted: RequestOptions = {}) =>
    requestWithRetries<T>(transport, method, path, wanted)
  const get = async <T>(path: string, query: Query = {}) =>
    (await request<T>('GET', path, { query })).data
  return {
    request,
    get,
    list: (path, query = {}) => listPages(get, path, query),
    openStream: (path, wanted) => openEventStream(transport, path, wanted),
  }
}

/** A path with each value percent-encoded: apiPath`/v1/clusters/${name}`. */
export function apiPath(texts: TemplateStringsArray, ...values: string[]): string {
  return texts.reduce((path, text, index) => path + encodeSegment(values[index - 1] ?? '') + text)
}

function encodeSegment(value: string): string {
  // As a path segment these would name another resource.
  if (value === '' || value === '.' || value === '..' || !value.isWellFormed()) {
    throw new HowdahError('not-found', `nothing is named ${JSON.stringify(value)}`)
  }
  return encodeURIComponent(value)
}

interface Transport {
  options: ApiClientOptions
  origin: URL
  agent: https.Agent
}

async function requestWithRetries<T>(
  transport: Transport,
  method: Method,
  path: string,
  wanted: RequestOptions,
): Promise<Reply<T>> {
  const headers: Record<string, string> = { accept: 'application/json' }
  // The same key on every attempt: a request whose reply was lost is not carried out twice.
  if (method !== 'GET') headers['idempotency-key'] = randomUUID()
  if (wanted.ifMatch !== undefined) headers['if-match'] = formatETag(wanted.ifMatch)
  const body = wanted.body === undefined ? undefined : JSON.stringify(wanted.body)
  if (body !== undefined) {
    headers['content-type'] = 'application/json'
    // Node frames no body of a DELETE by itself: it would be read as the next request.
    headers['content-length'] = String(Buffer.byteLength(body))
  }
  const target = path + formatQuery(wanted.query ?? {})
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await attemptRequest<T>(transport, { method, target, headers, body })
    if (!(outcome instanceof Failure)) return outcome
    if (!outcome.mayRetry || attempt === ATTEMPTS_MAX) throw outcome.error
    await delay(outcome.afterMs ?? RETRY_DELAY_MS * 2 ** (attempt - 1) * (0.5 + Math.random()))
  }
}

class Failure {
  readonly error: Error
  readonly mayRetry: boolean
  readonly afterMs: number | undefined
  constructor(error: Error, mayRetry: boolean, afterMs?: number) {
    this.error = error
    this.mayRetry = mayRetry
    this.afterMs = afterMs
  }
}

interface Attempt {
  method: Method
  target: string
  headers: Record<string, string>
  body: string | undefined
}

async function attemptRequest<T>(
  transport: Transport,
  attempt: Attempt,
): Promise<Reply<T> | Failure> {
  const deadlineMs = transport.options.deadlineMs ?? 30_000
  const signal = AbortSignal.timeout(deadlineMs)
  let response: IncomingMessage
  let text: string
  try {
    response = await send(transport, attempt, signal)
    text = await readBody(response)
  } catch (error) {
    if (error instanceof HowdahError) throw error
    if (signal.aborted) return new Failure(timedOut(transport, deadlineMs), false)
    return new Failure(unreachable(transport, error), !isTrustFailure(error))
  }
  const status = response.statusCode ?? 0
  const data = parseJson(text)
  if (status >= 200 && status < 300) {
    if (data === undefined && text !== '') throw notUnderstood(status)
    return { status, etag: response.headers.etag ?? '', data: data as T }
  }
  const error = parseProblem(status, data)
  const mayRetry = status === 503 || error.code === 'idempotency-in-progress'
  return new Failure(error, mayRetry, parseRetryAfter(response.headers['retry-after']))
}

function send(
  transport: Transport,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const request = https.request(
    {
      hostname: transport.origin.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: transport.origin.port || 443,
      method: attempt.method,
      path: attempt.target,
      agent: transport.agent,
      signal,
      headers: {
        ...attempt.headers,
        authorization: `Bearer ${transport.options.token}`,
        'user-agent': transport.options.userAgent,
      },
    },
    resolve,
  )
  request.on('error', reject)
  request.end(attempt.body)
  return promise
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    if (sizeBytes > RESPONSE_BYTES_MAX) {
      throw new HowdahError('internal', 'the reply is larger than 16 MiB')
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function openEventStream(
  transport: Transport,
  path: string,
  wanted: { query: Query; lastEventId: string | undefined; signal: AbortSignal },
): Promise<IncomingMessage> {
  const headers: Record<string, string> = { accept: 'text/event-stream' }
  if (wanted.lastEventId !== undefined) headers['last-event-id'] = wanted.lastEventId
  const target = path + formatQuery(wanted.query)
  const attempt: Attempt = { method: 'GET', target, headers, body: undefined }
  let response: IncomingMessage
  try {
    response = await send(transport, attempt, wanted.signal)
  } catch (error) {
    throw unreachable(transport, error)
  }
  const status = response.statusCode ?? 0
  if (status !== 200) throw parseProblem(status, parseJson(await readBody(response)))
  return response
}

async function listPages<T>(
  get: <Page>(path: string, query: Query) => Promise<Page>,
  path: string,
  query: Query,
): Promise<T[]> {
  const items: T[] = []
  let cursor: string | undefined
  for (let page = 0; page < PAGE_COUNT_MAX; page += 1) {
    const reply = await get<{ data?: T[]; next_cursor?: string | null }>(path, {
      limit: 200,
      ...query,
      cursor,
    })
    if (!Array.isArray(reply?.data)) throw notUnderstood(200)
    items.push(...reply.data)
    if (typeof reply.next_cursor !== 'string') break
    cursor = reply.next_cursor
  }
  return items
}

function formatQuery(query: Query): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) parameters.set(name, String(value))
  }
  return parameters.size === 0 ? '' : `?${parameters}`
}

function formatETag(version: string | number): string {
  return typeof version === 'number' ? `"${version}"` : version
}

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}

function parseRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,4}$/.test(header)) return undefined
  return Math.min(Number(header) * 1000, RETRY_DELAY_MS_MAX)
}

// Refused by us, not by chance: trying again gives the same answer.
function isTrustFailure(error: unknown): boolean {
  const code = String((error as NodeJS.ErrnoException).code ?? '')
  return /^(UNABLE_TO_|CERT_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS|ERR_SSL|ERR_OSSL|EPROTO)/.test(code)
}

function unreachable(transport: Transport, cause: unknown): HowdahError {
  const origin = transport.origin.origin
  if (isTrustFailure(cause)) {
    const detail = `the certificate of ${origin} is not one that the platform's authority signed`
    const hint = 'is another platform behind this address? see HOWDAH_API and HOWDAH_CA_FILE'
    return new HowdahError('platform-unreachable', detail, { cause, extra: { hint } })
  }
  const code = (cause as NodeJS.ErrnoException).code
  const said = code === undefined ? '' : ` (${code})`
  return new HowdahError('platform-unreachable', `no answer from ${origin}${said}`, { cause })
}

function timedOut(transport: Transport, deadlineMs: number): HowdahError {
  const said = `no answer from ${transport.origin.origin} within ${deadlineMs / 1000} s`
  return new HowdahError('platform-unreachable', said)
}

function notUnderstood(status: number): HowdahError {
  return new HowdahError('internal', `the platform's reply (HTTP ${status}) was not understood`, {
    extra: { hint: 'do the CLI and the platform have the same version? see howdah status' },
  })
}
