// Owns how the agent talks to the dcs: etcd's JSON gateway over HTTPS, endpoint after endpoint,
// with a token that is fetched when needed and again when etcd no longer takes it. Keys and values
// travel as base64.
import { describeError } from '@howdah/core/errors.ts'
import { makeHttpsAgent, sendRequest } from '../https-request.ts'
import { pause } from '../wake.ts'

export interface EtcdAccess {
  endpoints: readonly string[]
  caPem: string
  user?: string
  password?: string
}

export interface EtcdClient {
  /** One call, retried over the endpoints while the failure may pass. Throws EtcdError. */
  call(path: string, body: Record<string, unknown>): Promise<Record<string, unknown>>
  /** A token for a request that is not a call, such as a watch; empty without authentication. */
  authorization(): Promise<string>
  /** Where calls go now, without a slash at the end. */
  endpoint(): string
  /** Called when calls leave their endpoint for the next; returns how to end that. */
  onMove(callback: () => void): () => void
  close(): void
}

/** `code` is gRPC's number, or -1 when no endpoint answered. */
export class EtcdError extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'EtcdError'
    this.code = code
  }
}

const CALL_TIMEOUT_MS = 5000
const RETRY_PAUSE_MS = 200
const REPLY_BYTES_MAX = 8 * 1024 * 1024

/** Failures that another endpoint, or the same one a moment later, may not have. */
const PASSING = /no leader|not leader|leader changed|timed out|too many requests|unhealthy cluster/i
/** The last one: it was fetched, for nothing, before authentication was turned on. */
const STALE_TOKEN = /invalid auth token|revision of auth store is old|user name is empty/i

interface Connection {
  access: EtcdAccess
  post(path: string, body: unknown, token: string | undefined): Promise<Record<string, unknown>>
}

/**
 * Calls end when `signal` aborts. An endpoint that does not answer within `timeoutMs` (default
 * 5000) is left for the next; a call that found none in `giveUpMs` (default: never) fails as its
 * last try did.
 */
export function connectEtcd(
  access: EtcdAccess,
  signal: AbortSignal,
  { timeoutMs = CALL_TIMEOUT_MS, giveUpMs = Number.POSITIVE_INFINITY } = {},
): EtcdClient {
  const agent = makeHttpsAgent({ caPem: access.caPem, checkName: true })
  const endpoints = makeRotation(access.endpoints)
  let token: string | undefined

  async function post(path: string, body: unknown, authorization: string | undefined) {
    const base = endpoints.current()
    let response: { status: number; text: string }
    try {
      response = await sendRequest({
        agent,
        url: `${base}/v3/${path}`,
        method: 'POST',
        body,
        ...(authorization === undefined ? {} : { headers: { authorization } }),
        timeoutMs,
        responseBytesMax: REPLY_BYTES_MAX,
        signal,
      })
    } catch (error) {
      throw new EtcdError(-1, `${base}: ${describeError(error)}`)
    }
    return parseResponse(response)
  }

  async function call(path: string, body: Record<string, unknown>) {
    const deadlineMs = performance.now() + giveUpMs
    for (let tried = 1; ; tried += 1) {
      const asked = endpoints.moves()
      try {
        token ??= await authenticate({ access, post })
        return await post(path, body, token === '' ? undefined : token)
      } catch (error) {
        if (!(error instanceof EtcdError) || signal.aborted) throw error
        if (performance.now() > deadlineMs) throw error
        const mayLogIn = access.user !== undefined
        if (mayLogIn && STALE_TOKEN.test(error.message)) token = undefined
        else if (error.code !== -1 && !PASSING.test(error.message)) throw error
        // Calls that fail together leave the endpoint once: twice might lead back to it.
        else if (endpoints.moves() === asked) endpoints.move()
        // The next endpoint is asked at once; only a round without success is worth a wait.
        if (tried % access.endpoints.length === 0) await pause(RETRY_PAUSE_MS, signal)
        if (signal.aborted) throw error
      }
    }
  }

  async function authorization(): Promise<string> {
    token ??= await authenticate({ access, post })
    return token
  }

  return {
    call,
    authorization,
    endpoint: endpoints.current,
    onMove: endpoints.onMove,
    close: () => agent.destroy(),
  }
}

/** Which endpoint is asked now, and who wants to know when that changes. */
function makeRotation(endpoints: readonly string[]) {
  let moves = 0
  const callbacks = new Set<() => void>()
  return {
    current: () => (endpoints[moves % endpoints.length] as string).replace(/\/+$/, ''),
    moves: () => moves,
    move() {
      moves += 1
      for (const callback of [...callbacks]) callback()
    },
    onMove(callback: () => void) {
      callbacks.add(callback)
      return () => callbacks.delete(callback)
    },
  }
}

/** Empty without credentials, and when etcd says that it asks for none. */
async function authenticate(connection: Connection): Promise<string> {
  const { user, password } = connection.access
  if (user === undefined) return ''
  try {
    const reply = await connection.post('auth/authenticate', { name: user, password }, undefined)
    return String(reply['token'])
  } catch (error) {
    if (error instanceof EtcdError && isAuthOff(error)) return ''
    throw error
  }
}

export function isAuthOff(error: EtcdError): boolean {
  return /authentication is not enabled/i.test(error.message)
}

function parseResponse(response: { status: number; text: string }): Record<string, unknown> {
  let reply: unknown
  try {
    reply = JSON.parse(response.text)
  } catch {
    reply = undefined
  }
  if (typeof reply !== 'object' || reply === null) {
    throw new EtcdError(-1, `etcd answered ${response.status} without JSON`)
  }
  const fields = reply as Record<string, unknown>
  if (response.status === 200) return fields
  const code = typeof fields['code'] === 'number' ? fields['code'] : -1
  throw new EtcdError(code, String(fields['message'] ?? fields['error'] ?? response.status))
}

export function toBase64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}

/** The first key after all keys that start with `prefix`, in base64: etcd's `range_end`. */
export function prefixEnd(prefix: string): string {
  const bytes = Buffer.from(prefix, 'utf8')
  for (let index = bytes.length - 1; index >= 0; index -= 1) {
    const byte = bytes[index] as number
    if (byte < 0xff) {
      bytes[index] = byte + 1
      return bytes.subarray(0, index + 1).toString('base64')
    }
  }
  return Buffer.from([0]).toString('base64')
}
