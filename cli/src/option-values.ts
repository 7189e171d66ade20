// Owns parsers of option values, for commander: each either returns the value or says what it
// expects.
import { InvalidArgumentError } from 'commander'

/** A parser of whole numbers within bounds, both included. */
export function parseCount(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= minimum && value <= maximum)) {
      throw new InvalidArgumentError(`Give a whole number from ${minimum} to ${maximum}.`)
    }
    return value
  }
}

/** Collects repeated `k=v`; a later one for the same key wins. */
export function collectPair(
  text: string,
  previous: Record<string, string> | undefined,
): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Give it as NAME=VALUE.')
  // fromEntries, because assigning to a key such as __proto__ would change something else.
  return Object.fromEntries([
    ...Object.entries(previous ?? {}),
    [text.slice(0, at), text.slice(at + 1)],
  ])
}

export function collectText(text: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), text]
}
