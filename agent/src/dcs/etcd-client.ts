// Owns how the agent talks to the dcs: etcd's JSON gateway over HTTPS, endpoint after endpoint (or
// beside it, where one does not answer soon), with a token that is fetched when needed and again
// when etcd no longer takes it. Keys and values travel as base64.
import type { Agent } from 'node:https'
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

export interface EtcdPatience {
  /** An endpoint that does not answer for so long is left for the next; 5000 unless given. */
  timeoutMs?: number
  /** A call that found none for so long fails as its last try did; never unless given. */
  giveUpMs?: number
  /**
   * After so long without an answer the next endpoint is asked as well, and who answers first is
   * stayed with; never unless given. Only for calls that may be made twice.
   */
  hedgeMs?: number
}

/** Calls end when `signal` aborts. */
export function connectEtcd(
  access: EtcdAccess,
  signal: AbortSignal,
  {
    timeoutMs = CALL_TIMEOUT_MS,
    giveUpMs = Number.POSITIVE_INFINITY,
    hedgeMs = Number.POSITIVE_INFINITY,
  }: EtcdPatience = {},
): EtcdClient {
  const agent = makeHttpsAgent({ caPem: access.caPem, checkName: true })
  const endpoints = makeRotation(access.endpoints)
  const post = makePost({ agent, endpoints, timeoutMs, hedgeMs, signal })
  let token: string | undefined

  async function call(path: string, body: Record<string, unknown>) {
    const deadlineMs = performance.now() + giveUpMs
    let wasPassing = false
    for (let tried = 1; ; tried += 1) {
      const asked = endpoints.moves()
      try {
        token ??= await authenticate({ access, post })
        return await post(path, body, token === '' ? undefined : token)
      } catch (error) {
        if (!(error instanceof EtcdError) || signal.aborted) throw error
        if (performance.now() > deadlineMs) throw error
        const mayLogIn = access.user !== undefined
        const isPassing = PASSING.test(error.message)
        if (mayLogIn && STALE_TOKEN.test(error.message)) token = undefined
        else if (error.code !== -1 && !isPassing) throw error
        // One that answers will do so again, and the next may be gone with the dcs's leader. Calls
        // that fail together leave an endpoint once: twice might lead back to it.
        else if ((error.code === -1 || wasPassing) && endpoints.moves() === asked) endpoints.move(1)
        wasPassing = error.code !== -1 && isPassing
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

interface PostNeeds {
  agent: Agent
  endpoints: Rotation
  timeoutMs: number
  hedgeMs: number
  signal: AbortSignal
}

/** Asks the current endpoint, and those after it while none answers; stays with who does. */
function makePost({ agent, endpoints, timeoutMs, hedgeMs, signal }: PostNeeds): Connection['post'] {
  async function postTo(base: string, path: string, body: unknown, token: string | undefined) {
    const headers = token === undefined ? {} : { headers: { authorization: token } }
    const sent = { agent, url: `${base}/v3/${path}`, method: 'POST' as const, body, ...headers }
    const bounds = { timeoutMs, responseBytesMax: REPLY_BYTES_MAX, signal }
    const response = await sendRequest({ ...sent, ...bounds }).catch((error: unknown) => {
      throw new EtcdError(-1, `${base}: ${describeError(error)}`)
    })
    return parseResponse(response)
  }

  return async (path, body, token) => {
    const asked = endpoints.moves()
    const tries = Array.from({ length: endpoints.count }, (_, further) => async () => {
      try {
        return { further, reply: await postTo(endpoints.at(asked + further), path, body, token) }
      } catch (error) {
        // A refusal is an answer, too.
        if (error instanceof EtcdError && error.code !== -1) return { further, error }
        throw error
      }
    })
    const answer = await firstToAnswer(tries, hedgeMs)
    if (answer.further > 0 && endpoints.moves() === asked) endpoints.move(answer.further)
    if (answer.error !== undefined) throw answer.error
    return answer.reply
  }
}

type Rotation = ReturnType<typeof makeRotation>

/** Which endpoint is asked now, and who wants to know when that changes. */
function makeRotation(endpoints: readonly string[]) {
  let moves = 0
  const callbacks = new Set<() => void>()
  const at = (place: number) => (endpoints[place % endpoints.length] as string).replace(/\/+$/, '')
  return {
    count: endpoints.length,
    at,
    current: () => at(moves),
    moves: () => moves,
    move(further: number) {
      moves += further
      for (const callback of [...callbacks]) callback()
    },
    onMove(callback: () => void) {
      callbacks.add(callback)
      return () => callbacks.delete(callback)
    },
  }
}

/**
 * Begins one try after the other, each `hedgeMs` after the last; returns what the first brings that
 * brings anything, and fails as the first does when all that began have failed.
 */
async function firstToAnswer<T>(tries: readonly (() => Promise<T>)[], hedgeMs: number): Promise<T> {
  const begun: Promise<T>[] = []
  for (const begin of tries) {
    begun.push(begin())
    if (hedgeMs === Number.POSITIVE_INFINITY) break
    if (await hasSettled(Promise.any(begun), hedgeMs)) break
  }
  try {
    return await Promise.any(begun)
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error
  }
}

async function hasSettled(promise: Promise<unknown>, withinMs: number): Promise<boolean> {
  const waited = new AbortController()
  const settled = promise.then(
    () => true,
    () => true,
  )
  const late = pause(withinMs, waited.signal).then(() => false)
  return Promise.race([settled, late]).finally(() => waited.abort())
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
