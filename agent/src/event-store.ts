// Owns what the agent saw and did by itself, on disk until the control plane has stored it: the
// story of a failover must not depend on a control plane that is up, nor on an agent that lives to
// tell it.
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { GuardEvent } from '@howdah/core/protocol.ts'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { readFileIfPresent, writeFileAtomic } from './atomic-file.ts'
import type { HostRoot } from './host-root.ts'

/** The oldest go first: a cluster that fails over all day must not fill the disk. */
const COUNT_MAX = 500
const REPORT_COUNT_MAX = 100

export interface EventStore {
  /** Resolves when it is on disk. `at` is now, unless it was found later than it happened. */
  add(event: Omit<GuardEvent, 'id' | 'at'> & { at?: string | undefined }): Promise<void>
  pending(): GuardEvent[]
  forget(ids: readonly string[]): Promise<void>
}

export async function openEventStore(root: HostRoot, onAdded: () => void): Promise<EventStore> {
  const path = join(root.path, HOST_LAYOUT.agent, 'events.json')
  let events = parseEvents(await readFileIfPresent(path))
  let writing: Promise<void> = Promise.resolve()

  function save(): Promise<void> {
    const write = () => writeFileAtomic(path, JSON.stringify(events), { mode: 0o600 })
    writing = writing.then(write, write)
    return writing
  }

  return {
    async add(event) {
      const entry = { ...event, id: randomUUID(), at: event.at ?? new Date().toISOString() }
      events = [...events, entry].slice(-COUNT_MAX)
      // Told at once; that it is on disk matters only when it cannot be told.
      onAdded()
      await save()
    },
    pending: () => events.slice(0, REPORT_COUNT_MAX),
    async forget(ids) {
      if (ids.length === 0) return
      const gone = new Set(ids)
      events = events.filter((event) => !gone.has(event.id))
      await save()
    },
  }
}

// A damaged file costs a piece of history; refusing to start would cost the host.
function parseEvents(text: string | undefined): GuardEvent[] {
  if (text === undefined) return []
  try {
    const parsed: unknown = JSON.parse(text)
    return Value.Check(Type.Array(GuardEvent), parsed) ? parsed : []
  } catch {
    return []
  }
}
