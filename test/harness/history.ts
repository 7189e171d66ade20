// Owns the record of what clients asked and were told while faults happened: one entry per
// operation, with monotonic times of one clock. It judges nothing; the checkers do.

/**
 * ok: acknowledged, so it must last. fail: certainly not applied. unknown: nobody can say, as with
 * a lost connection, a timeout, or a commit that came back with a warning about synchronous
 * replication.
 */
export type Outcome = 'ok' | 'fail' | 'unknown'

export type Detail =
  | { kind: 'insert'; value: number }
  | { kind: 'compare-and-set'; key: number; from: number; to: number }
  | { kind: 'read'; key: number; value: number }
  | { kind: 'lists'; moves: Move[] }
  /** `value` is written beside it: what of all transfers is there can be told. */
  | { kind: 'transfer'; value: number; from: number; to: number; amount: number }
  | { kind: 'sum'; sum: number }
  | { kind: 'connect' }

/** In the order in which the transaction made them; `read` is what it saw. */
export type Move = { append: number; key: number } | { key: number; read: readonly number[] }

/** Which instance acknowledged a write, and on which timeline it led. */
export interface Acknowledger {
  instance: string
  timeline: number
}

export interface Entry {
  client: string
  /** Through the gateway, or a session of its own with one instance. */
  path: 'gateway' | 'direct'
  startedMs: number
  endedMs: number
  outcome: Outcome
  detail: Detail
  /** Of writes that were acknowledged. */
  by?: Acknowledger
  /** Why it is not ok. */
  reason?: string
  /** Refused because of what another client did: no failure of the cluster. */
  conflict?: boolean
}

export interface History {
  entries: readonly Entry[]
  add(entry: Entry): void
}

const ENTRIES_MAX = 2_000_000

export function makeHistory(): History {
  const entries: Entry[] = []
  return {
    entries,
    add(entry) {
      if (entries.length >= ENTRIES_MAX) throw new Error('the history is full: shorten the round')
      entries.push(entry)
    },
  }
}

/** Acknowledged writes, by when the client heard of them. */
export function acknowledged(entries: readonly Entry[]): (Entry & { by: Acknowledger })[] {
  return entries
    .flatMap((entry) =>
      entry.outcome === 'ok' && entry.by !== undefined ? [{ ...entry, by: entry.by }] : [],
    )
    .sort((a, b) => a.endedMs - b.endedMs)
}
