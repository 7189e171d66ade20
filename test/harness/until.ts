// Owns waiting in tests of whole platforms: for a condition, until a deadline, with the last
// observation in the error.
import { setTimeout as delay } from 'node:timers/promises'

const INTERVAL_MS = 100

/** What a look found: the value waited for, or a sentence about what is there instead. */
export type Look<T> = { value: T } | { seen: string }

/** An exception in `look` counts as an observation: what is restarting refuses for a while. */
export async function until<T>(
  describe: string,
  timeoutMs: number,
  look: () => Promise<Look<T>> | Look<T>,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const found = await Promise.resolve()
      .then(look)
      .catch((error: unknown): Look<T> => ({ seen: String(error) }))
    if ('value' in found) return found.value
    if (performance.now() > deadlineMs) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${describe}; last seen: ${found.seen}`)
    }
    await delay(INTERVAL_MS)
  }
}
