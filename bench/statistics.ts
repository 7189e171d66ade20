// Owns the arithmetic of the benches: medians, percentiles, and the interval of a ratio by
// bootstrap. Random numbers come from a seed, so that the same rows always give the same interval.

export interface Ratio {
  /** Median over the pairs of one side divided by the other. */
  median: number
  /** Bounds of the bootstrap's 95 % interval of that median. */
  low: number
  high: number
  pairs: number
}

const RESAMPLES = 2000
const SEED = 42

/** Linear between the neighbours; NaN of nothing. `share` is 0 to 1. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

/** Mulberry32: small, and good enough to draw indexes. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

function interval(resample: (random: () => number) => number): { low: number; high: number } {
  const random = randomFrom(SEED)
  const medians = Array.from({ length: RESAMPLES }, () => resample(random))
  return { low: percentile(medians, 0.025), high: percentile(medians, 0.975) }
}

function draw<T>(values: readonly T[], random: () => number): T[] {
  return values.map(() => values[Math.floor(random() * values.length)] as T)
}

/** Pair by pair, in the order measured: what disturbs the machine disturbs both sides of a pair. */
export function pairedRatio(above: readonly number[], below: readonly number[]): Ratio {
  const count = Math.min(above.length, below.length)
  const ratios = Array.from(
    { length: count },
    (_, index) => (above[index] as number) / (below[index] as number),
  )
  const bounds = interval((random) => median(draw(ratios, random)))
  return { median: median(ratios), ...bounds, pairs: count }
}

/** Of the medians of two sides that were tried a different number of times. */
export function ratioOfMedians(above: readonly number[], below: readonly number[]): Ratio {
  const bounds = interval((random) => median(draw(above, random)) / median(draw(below, random)))
  const pairs = Math.min(above.length, below.length)
  return { median: median(above) / median(below), ...bounds, pairs }
}
