// Owns what counts as a gap between writes: what a client would call an interruption, and not the
// pause of a flush or of a busy machine.

const GAP_MS_MIN = 100

export interface Gaps {
  longestMs: number
  /** Of those that count. */
  sumMs: number
}

/** Pure. The begin of the watch, each acknowledged write, and the end of the watch, in order. */
export function measureGaps(momentsMs: readonly number[]): Gaps {
  let longestMs = 0
  let sumMs = 0
  let lastMs = momentsMs[0] ?? 0
  for (const momentMs of momentsMs) {
    const gapMs = momentMs - lastMs
    longestMs = Math.max(longestMs, gapMs)
    if (gapMs > GAP_MS_MIN) sumMs += gapMs
    lastMs = momentMs
  }
  return { longestMs: Math.round(longestMs), sumMs: Math.round(sumMs) }
}
