// Decides what a new replica is made from: a copy of its leader, or the newest backup and the WAL
// since. Pure; the reason is told to people.

export const REPLICA_SOURCES = ['backup', 'leader'] as const
export type ReplicaSource = (typeof REPLICA_SOURCES)[number]

/** One gigabit a second: what a copy over an ordinary network may be expected to do. */
const COPY_BYTES_PER_SECOND = 120_000_000
/** Seconds either way: what a copy asks of the leader is soon over. */
const SMALL_BYTES = 1_000_000_000

export interface SourceChoice {
  from: ReplicaSource
  why: string
}

/** `restoreMs`: from earlier restores, of this backup and the WAL since; null: there was none. */
export function chooseReplicaSource(seen: {
  wish: ReplicaSource | undefined
  backup: { label: string; sizeBytes: number; restoreMs: number | null } | undefined
}): SourceChoice {
  const { wish, backup } = seen
  if (wish === 'leader') return { from: 'leader', why: 'as it was asked for' }
  if (backup === undefined) return { from: 'leader', why: 'there is no sound backup' }
  if (wish === 'backup') return { from: 'backup', why: 'as it was asked for' }
  const { restoreMs, sizeBytes } = backup
  if (sizeBytes < SMALL_BYTES) return { from: 'leader', why: 'it is small: less than 1 GB' }
  if (restoreMs === null) {
    return { from: 'leader', why: 'no restore has shown yet how long a backup takes' }
  }
  const copyMs = (sizeBytes / COPY_BYTES_PER_SECOND) * 1000
  const seconds = (ms: number) => `${Math.max(1, Math.round(ms / 1000))} s`
  const said = `a restore takes about ${seconds(restoreMs)}, a copy about ${seconds(copyMs)}`
  return { from: restoreMs < copyMs ? 'backup' : 'leader', why: said }
}
