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

/** The same, or `never` as null: what then decides is something else. */
export function parseCountOrNever(
  minimum: number,
  maximum: number,
): (text: string) => number | null {
  const parse = parseCount(minimum, maximum)
  return (text) => (text === 'never' ? null : parse(text))
}

const RATE_UNITS = { kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 }

/** `20MB/s` as bytes per second; from 1 MB/s on, as less would only tear a backup apart. */
export function parseRate(text: string): number {
  const match = /^(\d{1,6}(?:\.\d{1,3})?) ?([kKMG]i?B)(?:\/s)?$/.exec(text)
  const unit = RATE_UNITS[(match?.[2] ?? '').toLowerCase() as keyof typeof RATE_UNITS]
  const rate = Math.round(Number(match?.[1]) * unit)
  if (!(rate >= 1e6 && rate <= 1e12)) {
    throw new InvalidArgumentError('Give at least 1MB/s, e.g. 20MB/s.')
  }
  return rate
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
