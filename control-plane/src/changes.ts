// Owns wake-ups: one LISTEN connection turns NOTIFY into callbacks, so that whatever waits for a
// change in the platform database learns of it at once, whichever control plane made it. A wake-up
// is only a hint: every waiter looks at the database itself, and looks again now and then, as a
// hint can be lost.
import pg from 'pg'
import type { Queryable } from './database.ts'
import type { Log } from './log.ts'

const CHANNEL = 'howdah'
const RECONNECT_MS = 500
/** A waiter that heard nothing looks again after this long. */
const LOOK_AGAIN_MS = 1000

/**
 * host:<id> its spec or tasks · report:<id> what it observed · task:<id> · operation:<id> · events
 * · work
 */
export type Topic = string

export interface Changes {
  /** Calls back on every change of the topic until the returned function is called. */
  subscribe(topic: Topic, callback: () => void): () => void
  /**
   * Looks until `look` returns something else than undefined, or the deadline (epoch ms) has passed
   * or the signal aborted: then undefined.
   */
  waitUntil<T>(
    topics: readonly Topic[],
    deadlineMs: number,
    look: () => Promise<T | undefined>,
    signal?: AbortSignal,
  ): Promise<T | undefined>
  close(): Promise<void>
}

/** Sent when the transaction commits. */
export async function notifyChange(tx: Queryable, topic: Topic): Promise<void> {
  await tx.query('select pg_notify($1, $2)', [CHANNEL, topic])
}

export async function listenForChanges(url: string, log: Log): Promise<Changes> {
  const subscribers = new Map<Topic, Set<() => void>>()
  let closed = false
  let client: pg.Client | undefined

  function wake(topic: Topic) {
    for (const callback of [...(subscribers.get(topic) ?? [])]) callback()
  }

  async function connect(): Promise<void> {
    const next = new pg.Client({ connectionString: url, keepAlive: true })
    next.on('notification', (message) => wake(message.payload ?? ''))
    next.on('error', (error) => log.warn({ error: error.message }, 'listening connection lost'))
    next.on('end', () => {
      if (!closed) setTimeout(() => void reconnect(), RECONNECT_MS).unref()
    })
    await next.connect()
    await next.query(`listen ${CHANNEL}`)
    client = next
    // Whatever was sent while nobody listened: everyone looks.
    for (const topic of [...subscribers.keys()]) wake(topic)
  }

  async function reconnect(): Promise<void> {
    if (closed) return
    await connect().catch((error: Error) => {
      log.warn({ error: error.message }, 'cannot listen for changes yet')
      setTimeout(() => void reconnect(), RECONNECT_MS).unref()
    })
  }

  function subscribe(topic: Topic, callback: () => void) {
    const set = subscribers.get(topic) ?? new Set()
    subscribers.set(topic, set.add(callback))
    return () => {
      set.delete(callback)
      if (set.size === 0) subscribers.delete(topic)
    }
  }

  await connect()
  return {
    subscribe,
    waitUntil: (topics, deadlineMs, look, signal) =>
      waitUntil(subscribe, topics, deadlineMs, look, signal),
    async close() {
      closed = true
      await client?.end()
    },
  }
}

async function waitUntil<T>(
  subscribe: Changes['subscribe'],
  topics: readonly Topic[],
  deadlineMs: number,
  look: () => Promise<T | undefined>,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  let hinted = false
  let wakeUp = () => {}
  const onChange = () => {
    hinted = true
    wakeUp()
  }
  // Subscribed before the first look: a change in between is seen by the next one.
  const endings = topics.map((topic) => subscribe(topic, onChange))
  signal?.addEventListener('abort', onChange)
  try {
    for (;;) {
      hinted = false
      const found = await look()
      if (found !== undefined) return found
      const leftMs = deadlineMs - Date.now()
      if (leftMs <= 0 || signal?.aborted === true) return undefined
      if (hinted) continue
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(leftMs, LOOK_AGAIN_MS))
        wakeUp = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  } finally {
    for (const end of endings) end()
    signal?.removeEventListener('abort', onChange)
  }
}
