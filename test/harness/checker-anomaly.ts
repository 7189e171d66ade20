// Owns what the checks of a history share: what they are given of each instance, and how they say
// what is wrong.

/** What one instance holds once it has replayed all that the leader had. */
export interface Holding {
  instance: string
  values: readonly number[]
  registers: ReadonlyMap<number, number>
  lists: ReadonlyMap<number, readonly number[]>
  balances: ReadonlyMap<number, number>
}

const EXAMPLES_MAX = 3

/** `count` things went wrong: one sentence with the first of them. */
export function describeAnomaly(what: string, found: readonly unknown[]): string[] {
  if (found.length === 0) return []
  const examples = found.slice(0, EXAMPLES_MAX).map((one) => JSON.stringify(one))
  return [`${what}: ${found.length}, e.g. ${examples.join(', ')}`]
}
