// Decides what happens to the data of each instance when a cluster is restored in place and when
// that is undone, and what the repository forgets then. Pure: the record that it takes is made
// once, by the first restore, and kept by further ones until an undo ends it.
import type { ArchiveInventory } from './wal.ts'
import { formatSegmentName } from './wal.ts'

/** What is found on the host of an instance. */
export interface InstanceData {
  id: string
  /** Its data directory is there. */
  present: boolean
  /** So is what the restore has set aside of it. */
  aside: boolean
}

/**
 * `instances`: whose data was set aside, once that was done for all; null until then. The present
 * data is moved where it is what the undo shall bring back, and removed where it is not: an earlier
 * restore made it, or the instance came later.
 */
export function planSetAside(
  { id, present, aside }: InstanceData,
  instances: readonly string[] | null,
): 'leave' | 'move' | 'remove' {
  if (!present) return 'leave'
  if (aside) return 'remove'
  // Of the list, and nothing aside: an undo that did not end has put it back.
  return instances === null || instances.includes(id) ? 'move' : 'remove'
}

/** An instance that came after the restore has data of a later timeline, which must not lead. */
export function planPutBack(
  { id, present, aside }: InstanceData,
  instances: readonly string[] | null,
): 'leave' | 'put-back' | 'remove' {
  if (aside) return 'put-back'
  if (!present) return 'leave'
  // Of the list, and nothing aside: it was put back before the step died.
  return instances === null || instances.includes(id) ? 'leave' : 'remove'
}

/**
 * Timelines that were begun since: those that are there and were not when the data was set aside.
 * None when nobody knows what was there, as everything would look new.
 */
export function newTimelines(
  inventory: ArchiveInventory,
  known: readonly number[] | null,
): number[] {
  if (known === null || known.length === 0) return []
  const all = timelinesOf(inventory)
  const newestKnown = Math.max(...known)
  // An agent that does not tell histories: those between may be there without a segment.
  const between =
    inventory.histories === undefined
      ? Array.from(
          { length: Math.max(0, (all.at(-1) ?? 0) - newestKnown) },
          (_, index) => newestKnown + 1 + index,
        )
      : []
  return [...new Set([...all, ...between])]
    .filter((timeline) => !known.includes(timeline))
    .sort((a, b) => a - b)
}

/** All that have a segment or a history file, in order. */
export function timelinesOf({ ranges, histories = [] }: ArchiveInventory): number[] {
  const all = new Set([...ranges.map(({ timeline }) => timeline), ...histories])
  return [...all].sort((a, b) => a - b)
}

/** Directories of segments and history files of these timelines, below the archive's directory. */
export function timelinePaths(inventory: ArchiveInventory, timelines: readonly number[]): string[] {
  const directories = inventory.ranges
    .filter(({ timeline }) => timelines.includes(timeline))
    .flatMap(({ timeline, first, last }) => {
      const logs: string[] = []
      for (let log = Math.floor(first / 256); log <= Math.floor(last / 256); log += 1) {
        logs.push(formatSegmentName({ timeline, number: log * 256 }).slice(0, 16))
      }
      return logs
    })
  const histories = timelines.map(
    (timeline) => `${formatSegmentName({ timeline, number: 0 }).slice(0, 8)}.history`,
  )
  return [...new Set([...directories, ...histories])]
}
