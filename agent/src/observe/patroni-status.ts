// Owns how `GET /health` becomes what the platform says of an instance, for the vocabularies of
// Patroni 3 and 4. What Patroni does not say stays null or `unknown`: nothing is guessed.
import { patroniRole } from '@howdah/core/patroni-role.ts'
import type { PatroniStatus } from '@howdah/core/protocol.ts'

export const UNKNOWN_PATRONI: PatroniStatus = {
  role: 'unknown',
  state: 'unknown',
  streaming: false,
  timeline: null,
  walPosition: null,
  pendingRestart: false,
  serverVersion: null,
  replicas: [],
}

type Fields = Readonly<Record<string, unknown>>

/** Accepts anything; what does not look like Patroni's reply becomes `unknown`. */
export function parsePatroniStatus(reply: unknown): PatroniStatus {
  const fields = toFields(reply)
  const role = patroniRole(fields)
  const wal = toFields(fields['xlog'])
  const position = role === 'leader' ? wal['location'] : wal['replayed_location']
  const state = typeof fields['state'] === 'string' ? fields['state'].slice(0, 64) : 'unknown'
  return {
    role,
    state,
    streaming: isStreaming(role, state, fields, wal),
    timeline: toInteger(fields['timeline']),
    walPosition: toInteger(position)?.toString() ?? null,
    pendingRestart: fields['pending_restart'] === true,
    paused: fields['pause'] === true,
    serverVersion: toInteger(fields['server_version']),
    replicas: toReplicas(fields['replication']),
  }
}

/**
 * Newer Patroni says `replication_state`. 3.0.2 does not: there, a replica that runs and has
 * received WAL since it started counts as streaming. That stays true after a connection broke, so
 * whoever must be sure looks at `replicas` of the leader, which names who streams now.
 */
function isStreaming(
  role: PatroniStatus['role'],
  state: string,
  fields: Fields,
  wal: Fields,
): boolean {
  if (role !== 'replica' && role !== 'sync-replica') return false
  if (fields['replication_state'] !== undefined) return fields['replication_state'] === 'streaming'
  if (state === 'streaming') return true
  return state === 'running' && (toInteger(wal['received_location']) ?? 0) > 0
}

function toReplicas(list: unknown): PatroniStatus['replicas'] {
  if (!Array.isArray(list)) return []
  return list.slice(0, 64).map((item: unknown) => {
    const fields = toFields(item)
    return {
      name: toText(fields['application_name']),
      state: toText(fields['state']),
      syncState: toText(fields['sync_state']),
    }
  })
}

function toFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

function toText(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 64) : ''
}

function toInteger(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}
