// Owns how long this process was away. The monotonic clock stands still while a machine is
// suspended, the wall clock does not, and is set when a virtual machine wakes; so the longer of the
// two counts. A wall clock that is set ahead looks like an absence, too: whoever asks has to check.

export interface Clocks {
  monotonicMs(): number
  wallMs(): number
}

const CLOCKS: Clocks = { monotonicMs: () => performance.now(), wallMs: () => Date.now() }

/** Starts at once; each call tells the milliseconds since. */
export function startStopwatch(clocks: Clocks = CLOCKS): () => number {
  const [monotonicMs, wallMs] = [clocks.monotonicMs(), clocks.wallMs()]
  return () => Math.max(clocks.monotonicMs() - monotonicMs, clocks.wallMs() - wallMs)
}
