// Owns what acknowledgements say about an outage: the longest time without one, and whether a
// leader that was lost still gave any after the next one had begun.

export interface Acknowledgement {
  number: number
  sentMs: number
  ackedMs: number
  /** Address of the PostgreSQL that did it. */
  server: string | null
}

export interface Gap {
  gapMs: number
  startMs: number
}

/** `momentsMs` in any order. Zero of fewer than two. */
export function findLongestGap(momentsMs: readonly number[]): Gap {
  const sorted = momentsMs.toSorted((a, b) => a - b)
  let longest: Gap = { gapMs: 0, startMs: 0 }
  for (const [index, at] of sorted.entries()) {
    const startMs = sorted[index - 1] ?? at
    if (at - startMs > longest.gapMs) longest = { gapMs: at - startMs, startMs }
  }
  return longest
}

/**
 * From the first acknowledgement of another server to the last one of `lost`; 0 when they did not
 * overlap. Undefined when nobody else acknowledged, or the servers are not known.
 */
export function findOverlapMs(
  acknowledged: readonly Acknowledgement[],
  lost: string,
): number | undefined {
  if (acknowledged.some(({ server }) => server === null)) return undefined
  const momentsOf = (isLost: boolean) =>
    acknowledged.filter(({ server }) => (server === lost) === isLost).map(({ ackedMs }) => ackedMs)
  const next = momentsOf(false)
  if (next.length === 0) return undefined
  const firstMs = next.reduce((least, at) => Math.min(least, at))
  const lastMs = momentsOf(true).reduce((most, at) => Math.max(most, at), 0)
  return Math.max(0, lastMs - firstMs)
}
