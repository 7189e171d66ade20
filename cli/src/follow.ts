// Owns watching one operation to its end: a list of steps that redraws on a terminal, one plain
// line per event elsewhere, both on stderr. Events drive it; the operation is read again when they
// say that it changed, so a lost or unknown event delays the picture and never falsifies the
// outcome.
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { type ApiClient, apiPath } from './api-client.ts'
import type { Context, Progress } from './context.ts'
import { listEvents } from './event-list.ts'
import { type StreamItem, streamEvents } from './event-stream.ts'
import { safeLine } from './safe-text.ts'
import { renderStepList } from './step-list.ts'

const FRAME_MS = 100
const MISSED_COUNT_MAX = 1000
/** Exit code of a shell for SIGINT. */
export const INTERRUPTED_EXIT_CODE = 130

export interface FollowOptions {
  client: ApiClient
  operationId: string
  progress: Progress
  /** Id of the event to begin after; the first of the operation unless given. */
  after?: string
  signal: AbortSignal
  silenceMsMax?: number
}

/** Thrown when a person stopped watching; the operation goes on. */
export class StoppedWatching extends Error {
  readonly operationId: string
  constructor(operationId: string) {
    super('stopped watching')
    this.operationId = operationId
  }
}

/** The operation in its final state, whichever that is. Throws StoppedWatching when aborted. */
export async function followOperation(options: FollowOptions): Promise<Operation> {
  const first = await readOperation(options)
  const view = options.progress.isLive ? makeLiveView(options, first) : makePlainView(options)
  let lastEventId = options.after ?? '0'
  try {
    if (isFinal(first)) return await endView(options, view, first, lastEventId)
    for await (const item of streamEvents({
      client: options.client,
      query: { operation: options.operationId, after: lastEventId },
      signal: options.signal,
      ...(options.silenceMsMax === undefined ? {} : { silenceMsMax: options.silenceMsMax }),
    })) {
      view.show(item)
      if (item.type === 'event') lastEventId = item.event.id
      if (!mayHaveEnded(item)) continue
      const operation = await readOperation(options)
      view.update(operation)
      if (isFinal(operation)) return await endView(options, view, operation, lastEventId)
    }
    throw new StoppedWatching(options.operationId)
  } finally {
    view.close()
  }
}

/** Shows what the stream had not sent yet: it may end before its reader has caught up. */
async function endView(
  options: FollowOptions,
  view: View,
  operation: Operation,
  lastEventId: string,
): Promise<Operation> {
  const query = { operation: options.operationId, after: lastEventId }
  // The outcome is known; a platform that goes away now costs some lines and nothing else.
  const missed = await listEvents(options.client, query, MISSED_COUNT_MAX).catch(() => [])
  for (const event of missed) view.show({ type: 'event', event })
  view.finish(operation)
  return operation
}

/**
 * Follows with Ctrl-C as "stop watching". Throws `operation-failed` unless the operation succeeded.
 * `after`: the last event of the attempts before.
 */
export async function followToSuccess(
  context: Context,
  operationId: string,
  options: { after?: string } = {},
): Promise<Operation> {
  const stopped = new AbortController()
  const stop = () => stopped.abort()
  // SIGTERM too: a live view hides the cursor, and must give it back.
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    const operation = await followOperation({
      client: context.client(),
      operationId,
      progress: context.progress(),
      signal: stopped.signal,
      ...options,
    })
    if (operation.state !== 'succeeded') throw describeFailure(operation)
    return operation
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

function describeFailure(operation: Operation): HowdahError {
  const { id, error, title, state } = operation
  const said =
    error === null ? '' : `: ${error.step === '' ? '' : `${error.step}: `}${error.detail}`
  const advice = (error?.hint ?? '').replaceAll(/(op (?:logs|watch|retry)) ID/g, `$1 ${id}`)
  const logs = advice.includes('op logs') ? '' : `howdah op logs ${id} shows each step`
  const hint =
    state === 'cancelled'
      ? 'it was cancelled on request'
      : [advice, logs].filter((text) => text !== '').join('; ')
  return new HowdahError('operation-failed', `${title}: ${state}${said}`, {
    extra: { hint, operation_id: id },
  })
}

export function isFinal(operation: Operation): boolean {
  return ['succeeded', 'failed', 'cancelled'].includes(operation.state)
}

async function readOperation(options: FollowOptions): Promise<Operation> {
  return options.client.get<Operation>(apiPath`/v1/operations/${options.operationId}`)
}

// A sign of life counts too: after a reconnection the last event may already be past.
function mayHaveEnded(item: StreamItem): boolean {
  if (item.type === 'alive') return true
  return item.type === 'event' && /^operation\.(succeeded|failed|cancelled)$/.test(item.event.kind)
}

interface View {
  show(item: StreamItem): void
  update(operation: Operation): void
  finish(operation: Operation): void
  close(): void
}

function makePlainView(options: FollowOptions): View {
  const { stream } = options.progress
  let isLost = false
  let lines = 0
  const say = (line: string) => {
    lines += 1
    stream.write(`${line}\n`)
  }
  return {
    show: (item) => {
      if (item.type === 'event') {
        say(formatEventLine(item.event))
      } else if (item.type === 'lost' && !isLost) {
        say(`connection lost (${safeLine(item.error.message)}), trying again`)
      }
      isLost = item.type === 'lost'
    },
    update: () => undefined,
    finish: (operation) => {
      // Ended before we came: there was nothing to stream.
      if (lines === 0) for (const line of summarize(operation)) say(line)
    },
    close: () => undefined,
  }
}

/** `12:04:31  step.running       Start the leader`, in local time. */
export function formatEventLine(event: Event): string {
  const at = new Date(event.at)
  const time = Number.isNaN(at.getTime()) ? safeLine(event.at) : at.toTimeString().slice(0, 8)
  return `${time}  ${safeLine(event.kind).padEnd(19)}  ${safeLine(sentenceOf(event))}`.trimEnd()
}

// A step that ends says what it saw last; which step that was is in its data.
function sentenceOf({ kind, message, data }: Event): string {
  const title = kind.startsWith('step.') ? data?.title : undefined
  const isNews = typeof title === 'string' && !message.startsWith(title)
  return isNews ? `${title}: ${message}` : message
}

function summarize(operation: Operation): string[] {
  const steps = operation.steps.map((step) =>
    `${step.state.padEnd(9)}  ${safeLine(step.title)}  ${safeLine(step.message)}`.trimEnd(),
  )
  return [...steps, `${operation.state.padEnd(9)}  ${safeLine(operation.title)}`]
}

function makeLiveView(options: FollowOptions, first: Operation): View {
  const { stream, paint } = options.progress
  let operation = first
  let notice = ''
  let frame = 0
  let drawn = 0
  const draw = () => {
    const lines = renderStepList(operation, {
      nowMs: Date.now(),
      columns: stream.columns ?? 80,
      rows: stream.rows ?? 24,
      frame,
      paint,
      notice,
    })
    // One write per frame: the terminal never shows half a list.
    const up = drawn > 0 ? `\x1b[${drawn}A\r` : ''
    stream.write(`${up}\x1b[J${lines.join('\n')}\n`)
    drawn = lines.length
  }
  const timer = setInterval(() => {
    frame += 1
    draw()
  }, FRAME_MS)
  stream.write('\x1b[?25l')
  draw()
  const refresh = makeRefresh(options, (newer) => {
    operation = newer
  })
  return {
    show: (item) => {
      notice = item.type === 'lost' ? `connection lost (${item.error.message}), trying again` : ''
      if (item.type === 'event') refresh()
    },
    update: (newer) => {
      operation = newer
    },
    finish: (last) => {
      operation = last
      notice = ''
      draw()
    },
    close: () => {
      clearInterval(timer)
      stream.write('\x1b[?25h')
    },
  }
}

/**
 * Reads the operation again; a burst of events costs one reading after the one that is under way.
 */
function makeRefresh(options: FollowOptions, apply: (operation: Operation) => void): () => void {
  let isReading = false
  let isStale = false
  const read = async () => {
    isReading = true
    do {
      isStale = false
      // A failed reading only delays the picture: the stream reports a platform that went away.
      const operation = await readOperation(options).catch(() => undefined)
      if (operation !== undefined) apply(operation)
    } while (isStale)
    isReading = false
  }
  return () => {
    isStale = true
    if (!isReading) void read()
  }
}
