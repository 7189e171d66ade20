// Owns reading the platform's events as they happen (SSE): it reconnects where it stopped when the
// stream ends or falls silent, so that a restart of the control plane is a pause and not an end.
import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Event } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { ApiClient, Query } from './api-client.ts'

// The platform sends a comment every 15 s; after three missed ones the connection is dead.
const SILENCE_MS_MAX = 45_000
const RECONNECT_DELAY_MS = 250
const RECONNECT_DELAY_MS_MAX = 5_000
const UNREACHABLE_MS_MAX = 120_000
const LINE_LENGTH_MAX = 1024 * 1024

/** `alive`: connected, or a sign of life; time to look whether something was missed. */
export type StreamItem =
  | { type: 'event'; event: Event }
  | { type: 'alive' }
  | { type: 'lost'; error: HowdahError }

export interface StreamOptions {
  client: ApiClient
  /** Filters; `after` is where to start, `0` replays everything. */
  query: Query
  signal: AbortSignal
  /** 45 s unless given. */
  silenceMsMax?: number
  /** How long to go on without an answer; 2 minutes unless given. */
  unreachableMsMax?: number
}

/** Never ends by itself. Throws when the platform refuses, or stays away for too long. */
export async function* streamEvents(options: StreamOptions): AsyncGenerator<StreamItem> {
  let lastEventId: string | undefined
  let lostAtMs: number | undefined
  let delayMs = RECONNECT_DELAY_MS
  while (!options.signal.aborted) {
    try {
      for await (const item of readConnection(options, lastEventId)) {
        lostAtMs = undefined
        delayMs = RECONNECT_DELAY_MS
        if (item.type === 'event') {
          // A platform that ignores Last-Event-ID would send the last event again.
          if (item.event.id === lastEventId) continue
          lastEventId = item.event.id
        }
        yield item
      }
    } catch (error) {
      if (options.signal.aborted) return
      if (!(error instanceof HowdahError) || !isPassing(error)) throw error
      lostAtMs ??= Date.now()
      if (Date.now() - lostAtMs > (options.unreachableMsMax ?? UNREACHABLE_MS_MAX)) throw error
      yield { type: 'lost', error }
    }
    // Jitter, because all watchers lose a control plane at the same moment.
    await delay(delayMs * (0.5 + Math.random()), undefined, { signal: options.signal }).catch(
      () => undefined,
    )
    delayMs = Math.min(delayMs * 2, RECONNECT_DELAY_MS_MAX)
  }
}

function isPassing(error: HowdahError): boolean {
  return ['platform-unreachable', 'internal', 'too-many-requests'].includes(error.code)
}

async function* readConnection(
  options: StreamOptions,
  lastEventId: string | undefined,
): AsyncGenerator<StreamItem> {
  const silenceMsMax = options.silenceMsMax ?? SILENCE_MS_MAX
  const connection = new AbortController()
  const silence = setTimeout(() => connection.abort(), silenceMsMax)
  try {
    const response = await options.client.openStream('/v1/events/stream', {
      // The header and `after` name the same place; once there is an id, it is the newer one.
      query: lastEventId === undefined ? options.query : { ...options.query, after: undefined },
      lastEventId,
      signal: AbortSignal.any([options.signal, connection.signal]),
    })
    yield { type: 'alive' }
    for await (const block of readBlocks(response, () => silence.refresh())) {
      const event = parseEvent(block)
      yield event === undefined ? { type: 'alive' } : { type: 'event', event }
    }
  } catch (error) {
    if (error instanceof HowdahError) throw error
    throw new HowdahError('platform-unreachable', 'the event stream broke off', { cause: error })
  } finally {
    clearTimeout(silence)
    connection.abort()
  }
}

/** Blocks of an event stream: the lines between two empty ones. */
async function* readBlocks(
  response: IncomingMessage,
  onData: () => void,
): AsyncGenerator<string[]> {
  response.setEncoding('utf8')
  let rest = ''
  let lines: string[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<string>) {
    onData()
    const parts = (rest + chunk).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      const line = part.endsWith('\r') ? part.slice(0, -1) : part
      length += line.length
      if (line !== '') lines.push(line)
      else if (lines.length > 0) {
        yield lines
        lines = []
        length = 0
      }
    }
    if (rest.length + length > LINE_LENGTH_MAX) {
      throw new HowdahError('internal', 'the platform sent an event larger than 1 MiB')
    }
  }
}

/** undefined for comments, retry hints and what cannot be read. */
function parseEvent(lines: string[]): Event | undefined {
  const data = lines
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(5).replace(/^ /, ''))
    .join('\n')
  if (data === '') return undefined
  try {
    const event = JSON.parse(data) as Partial<Event> | null
    const isEvent = typeof event?.id === 'string' && typeof event.kind === 'string'
    return isEvent ? (event as Event) : undefined
  } catch {
    return undefined
  }
}
