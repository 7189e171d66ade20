// Owns what answers prove about who accepted writes when. An answer tells of some moment between
// question and answer, and silence of none: an instance leads for certain from its first answer
// that says so until it was last asked and said so again.

export interface LeaderRun {
  instance: string
  fromMs: number
  toMs: number
}

export interface LeaderRuns {
  /** `leads` undefined: it did not answer. */
  note(answer: { instance: string; askedMs: number; leads: boolean | undefined }): void
  /** The most instances that led at one moment. */
  most(): number
}

/** `nowMs`: when an answer came. */
export function makeLeaderRuns(nowMs: () => number): LeaderRuns {
  const open = new Map<string, LeaderRun>()
  const runs: LeaderRun[] = []
  return {
    note({ instance, askedMs, leads }) {
      const run = open.get(instance)
      if (leads !== true) open.delete(instance)
      else if (run !== undefined) run.toMs = askedMs
      else {
        // One answer proves no stretch of time: as long as there is no second, it ends before it
        // begins.
        const begun = { instance, fromMs: nowMs(), toMs: askedMs }
        open.set(instance, begun)
        runs.push(begun)
      }
    },
    most: () => mostAtOnce(runs),
  }
}

/** Pure. Runs of one instance do not overlap, so each one counts for another instance. */
export function mostAtOnce(runs: readonly LeaderRun[]): number {
  const proven = runs.filter(({ fromMs, toMs }) => fromMs <= toMs)
  // Wherever most of them meet, one of them begins.
  const counts = proven.map(
    ({ fromMs: at }) => proven.filter(({ fromMs, toMs }) => fromMs <= at && at <= toMs).length,
  )
  return Math.max(0, ...counts)
}
