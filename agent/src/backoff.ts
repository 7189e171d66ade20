// Owns how long to wait after a failure: doubling with full jitter, so that many agents that lost
// the same control plane do not come back in step.

export interface Backoff {
  /** The next wait; each call doubles the ceiling until `maxMs`. */
  nextMs(): number
  reset(): void
}

export function makeBackoff(options: { minMs: number; maxMs: number }): Backoff {
  let ceilingMs = options.minMs
  return {
    nextMs() {
      const waitMs = options.minMs / 2 + Math.random() * ceilingMs
      ceilingMs = Math.min(ceilingMs * 2, options.maxMs)
      return Math.min(waitMs, options.maxMs)
    },
    reset() {
      ceilingMs = options.minMs
    },
  }
}
