// Owns the results of tasks, on disk: a task that ran is never run again, and its result is sent
// until the control plane has stored it. Stored ones stay a while, to answer a repeated delivery.
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { TaskResult } from '@howdah/core/protocol.ts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { readFileIfPresent, writeFileAtomic } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'

const Entry = Type.Object({ result: TaskResult, stored: Type.Boolean() })
type Entry = Static<typeof Entry>

const STORED_COUNT_MAX = 100
const STORED_BYTES_MAX = 1024 * 1024
const UNSTORED_COUNT_MAX = 200
const UNSTORED_BYTES_MAX = 8 * 1024 * 1024
/** Of one report; a single larger result goes alone. */
const REPORT_BYTES_MAX = 1024 * 1024
const REPORT_COUNT_MAX = 100

export interface ResultStore {
  has(id: string): boolean
  ids(): string[]
  /** Resolves when the result is on disk. */
  add(result: TaskResult): Promise<void>
  /** The oldest ones that the control plane has not stored, as many as one report holds. */
  pending(): TaskResult[]
  markStored(ids: readonly string[]): Promise<void>
  /** The control plane asks for it again. */
  markWanted(id: string): void
  /** Too much waits to be stored: no further task should be started. */
  full(): boolean
}

export async function openResultStore(root: HostRoot): Promise<ResultStore> {
  const path = join(root.path, HOST_LAYOUT.agent, 'results.json')
  let entries = await loadEntries(path)
  // One write at a time, each of the newest state: a slow one must not overwrite a later one.
  let writing: Promise<void> = Promise.resolve()
  // Not reported before it is on disk: an agent that died in between would run the task again.
  const unsaved = new Set<string>()

  function save(): Promise<void> {
    const write = () =>
      writeFileAtomic(path, JSON.stringify([...entries.values()]), { mode: 0o600 })
    writing = writing.then(write, write)
    return writing
  }

  return {
    has: (id) => entries.has(id),
    ids: () => [...entries.keys()],
    async add(result) {
      entries.set(result.id, { result, stored: false })
      unsaved.add(result.id)
      // A disk that takes nothing must not keep the result from who waits for it.
      await save().finally(() => unsaved.delete(result.id))
    },
    pending() {
      const waiting = [...entries].filter(([id, entry]) => !entry.stored && !unsaved.has(id))
      return takeWhileSmall(waiting.map(([, entry]) => entry))
    },
    async markStored(ids) {
      const known = ids.filter((id) => entries.get(id)?.stored === false)
      if (known.length === 0) return
      for (const id of known) (entries.get(id) as Entry).stored = true
      entries = dropOldStored(entries)
      await save()
    },
    markWanted(id) {
      const entry = entries.get(id)
      if (entry !== undefined) entry.stored = false
    },
    full() {
      const waiting = [...entries.values()].filter((entry) => !entry.stored)
      const bytes = waiting.reduce((sum, entry) => sum + sizeBytes(entry), 0)
      return waiting.length >= UNSTORED_COUNT_MAX || bytes >= UNSTORED_BYTES_MAX
    },
  }
}

// A damaged file costs a second run of some tasks, which are idempotent; refusing to start would
// cost the whole host.
async function loadEntries(path: string): Promise<Map<string, Entry>> {
  const text = await readFileIfPresent(path)
  if (text === undefined) return new Map()
  try {
    const parsed: unknown = JSON.parse(text)
    if (!Value.Check(Type.Array(Entry), parsed)) return new Map()
    return new Map(parsed.map((entry) => [entry.result.id, entry]))
  } catch {
    return new Map()
  }
}

function takeWhileSmall(waiting: readonly Entry[]): TaskResult[] {
  const results: TaskResult[] = []
  let bytes = 0
  for (const entry of waiting.slice(0, REPORT_COUNT_MAX)) {
    bytes += sizeBytes(entry)
    if (results.length > 0 && bytes > REPORT_BYTES_MAX) break
    results.push(entry.result)
  }
  return results
}

function dropOldStored(entries: ReadonlyMap<string, Entry>): Map<string, Entry> {
  let count = 0
  let bytes = 0
  const kept = [...entries].toReversed().filter(([, entry]) => {
    if (!entry.stored) return true
    count += 1
    bytes += sizeBytes(entry)
    return count <= STORED_COUNT_MAX && bytes <= STORED_BYTES_MAX
  })
  return new Map(kept.toReversed())
}

function sizeBytes(entry: Entry): number {
  return Buffer.byteLength(JSON.stringify(entry.result))
}
