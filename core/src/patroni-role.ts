// Owns what Patroni's words for an instance mean, in the vocabularies of its versions 3 and 4:
// for agents, which observe all the time, and for whoever must know it at one moment.
import type { PatroniStatus } from './protocol.ts'

/** `fields`: of Patroni's own reply about the instance. What they do not say is `unknown`. */
export function patroniRole(fields: Readonly<Record<string, unknown>>): PatroniStatus['role'] {
  switch (fields['role']) {
    case 'master':
    case 'primary':
    case 'standby_leader':
      return 'leader'
    case 'replica':
      return fields['sync_standby'] === true ? 'sync-replica' : 'replica'
    default:
      return 'unknown'
  }
}
