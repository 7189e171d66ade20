// Owns waiting: until a condition holds or a deadline passes, and then it says what was last seen.

import { setTimeout as delay } from 'node:timers/promises'
import { HowdahError } from '@howdah/core/errors.ts'

export interface WaitOptions {
  /** Completes "waited 60 s for …". */
  what: string
  timeoutMs: number
  intervalMs?: number
  signal?: AbortSignal | undefined
}

/** Either the value waited for, or a sentence about what is there instead. */
export type Observation<T> = { value: T } | { seen: string }

/** Throws `step-timeout` with the last observation. */
export async function waitFor<T>(
  options: WaitOptions,
  observe: () => Promise<Observation<T>>,
): Promise<T> {
  const deadlineMs = performance.now() + options.timeoutMs
  for (;;) {
    options.signal?.throwIfAborted()
    const observed = await observe()
    if ('value' in observed) return observed.value
    if (performance.now() >= deadlineMs) {
      const waited = `waited ${Math.round(options.timeoutMs / 1000)} s for ${options.what}`
      throw new HowdahError('step-timeout', `${waited}; last seen: ${observed.seen}`)
    }
    await delay(options.intervalMs ?? 100, undefined, { signal: options.signal })
  }
}
