// Owns the watch for a promotion that was lost: the instance has the lead for itself, and stays a
// replica that replays nothing. A process of PostgreSQL that dies in the middle of a promotion
// makes PostgreSQL start again as a replica, and its Patroni, which has asked for the promotion,
// takes it for done. A new Patroni sees a replica that has the lead, and asks again.
import type { Logger } from 'pino'
import { type FenceTarget, killPatroni } from './fence.ts'
import { askLocally } from './local-session.ts'

/** A promotion takes a moment once all that was received is replayed. */
const LOST_MS = 5000
const ANSWER_MS = 1000

interface Needs {
  rootPath: string
  instance: { postgresPort: number }
  log: Logger
}

export interface PromotionWatch {
  /** The instance, which has the lead under this claim, would not write. */
  refused(claim: string): Promise<void>
  accepted(): void
}

export function watchPromotion(needs: Needs, target: FenceTarget): PromotionWatch {
  let seen = ''
  let sinceMs = performance.now()
  const see = (now: string) => {
    if (now !== seen) sinceMs = performance.now()
    seen = now
  }
  return {
    async refused(claim) {
      const replayed = await readReplayed(needs)
      see(replayed === undefined ? '' : `${claim} ${replayed}`)
      if (seen === '' || performance.now() - sinceMs < LOST_MS) return
      see('')
      await killPatroni(target, `has the lead, and is a replica at ${replayed}`, needs.log)
    },
    accepted: () => see(''),
  }
}

/**
 * How far a replica has replayed all that it received; undefined for one that has more to replay,
 * what is none, or does not say.
 */
async function readReplayed(needs: Needs): Promise<string | undefined> {
  const text = `select pg_catalog.pg_last_wal_replay_lsn()::text as lsn
    where pg_catalog.pg_is_in_recovery() and pg_catalog.pg_last_wal_replay_lsn() >=
      coalesce(pg_catalog.pg_last_wal_receive_lsn(), '0/0')`
  const answer = await askLocally(needs, ANSWER_MS, text, [])
  const lsn = answer.kind === 'rows' ? answer.rows[0]?.['lsn'] : undefined
  return typeof lsn === 'string' ? lsn : undefined
}
