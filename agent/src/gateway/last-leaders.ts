// Owns whom each gateway of this host pointed at last, on disk: a leader that changes while the
// agent is away, as with a gateway's host that is lost together with the leader's, has changed all
// the same. It knows nothing of what happened meanwhile.
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { readFileIfPresent, writeFileAtomic } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'

/** Gateways that are gone are forgotten, the oldest first. */
const COUNT_MAX = 100
const Leaders = Type.Record(Type.String(), Type.String())

export interface LastLeaders {
  of(gatewayId: string): string | undefined
  /**
   * Known at once to whoever asks here, and on disk when `told` resolves: an agent that ends
   * before it could tell a change finds it again.
   */
  note(gatewayId: string, leader: string, told: Promise<void>): Promise<void>
}

export async function openLastLeaders(root: Pick<HostRoot, 'path'>): Promise<LastLeaders> {
  const path = join(root.path, HOST_LAYOUT.agent, 'leaders.json')
  const kept = parseLeaders(await readFileIfPresent(path))
  const known = new Map(kept)
  let writing: Promise<void> = Promise.resolve()

  function save(): Promise<void> {
    const entries = [...kept].slice(-COUNT_MAX)
    const text = JSON.stringify(Object.fromEntries(entries))
    const write = () => writeFileAtomic(path, text, { mode: 0o600 })
    writing = writing.then(write, write)
    return writing
  }

  return {
    of: (gatewayId) => known.get(gatewayId),
    async note(gatewayId, leader, told) {
      known.set(gatewayId, leader)
      await told
      // The last of its place in the order, too.
      kept.delete(gatewayId)
      kept.set(gatewayId, leader)
      await save()
    },
  }
}

// Damaged, it costs one record of history.
function parseLeaders(text: string | undefined): Map<string, string> {
  try {
    const parsed: unknown = JSON.parse(text ?? '{}')
    return new Map(Value.Check(Leaders, parsed) ? Object.entries(parsed) : [])
  } catch {
    return new Map()
  }
}
