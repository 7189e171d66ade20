// Owns the decision what one service needs next, from what is wanted and what is there. Pure, so
// that a restarted agent decides like the one that died: from what it finds, not from memory.
import { type AppliedRecord, NEVER_RESTARTED } from './service-directory.ts'

/**
 * install: there is no directory. supervise: s6 does not know it yet. restart: the process has
 * seen other files than it should. start: it was left down. reload: it has to read files again.
 * rewrite: what counts from its next start or at its end changed. none: as wanted.
 */
export type ServiceAction =
  | 'install'
  | 'supervise'
  | 'restart'
  | 'start'
  | 'reload'
  | 'rewrite'
  | 'none'

export interface ServiceFound {
  record: AppliedRecord | undefined
  supervised: boolean
  wantUp: boolean
}

export function planService(wanted: AppliedRecord, found: ServiceFound): ServiceAction {
  if (found.record === undefined) return 'install'
  if (!found.supervised) return 'supervise'
  if (wanted.start !== NEVER_RESTARTED && found.record.start !== wanted.start) return 'restart'
  if (!found.wantUp) return 'start'
  if (found.record.reload !== wanted.reload) return 'reload'
  if (found.record.stop !== wanted.stop) return 'rewrite'
  return 'none'
}
