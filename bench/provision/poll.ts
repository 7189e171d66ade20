// Owns the fine-grained waiting of timed runs: a look every few milliseconds, without the harness'
// tenth of a second.
import { setTimeout as delay } from 'node:timers/promises'

/**
 * Milliseconds on `performance.now()`'s clock at which `look` first answered true. Its errors mean:
 * not yet.
 */
export async function pollUntil(
  describe: string,
  options: { intervalMs: number; timeoutMs: number },
  look: () => Promise<boolean>,
): Promise<number> {
  const deadlineMs = performance.now() + options.timeoutMs
  let last = 'nothing'
  while (performance.now() < deadlineMs) {
    try {
      if (await look()) return performance.now()
      last = 'not yet'
    } catch (error) {
      last = String(error)
    }
    await delay(options.intervalMs)
  }
  throw new Error(`waited ${options.timeoutMs / 1000} s for ${describe}; last seen: ${last}`)
}
