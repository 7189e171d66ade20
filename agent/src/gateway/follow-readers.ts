// Owns that pooled readers are where readers may be. HAProxy's checks keep a reader that comes away
// from a replica that is behind, has become the leader or is drained; but a session of the pooler,
// once it is open, stays for up to an hour. So whenever other instances serve readers than before,
// the pooler connects anew, as its transactions end; no client notices.
import type { Logger } from 'pino'
import { pause } from '../wake.ts'

/**
 * A change is followed at the second look that finds it: in the moment of a failover writers log
 * in, and readers would be many logins more.
 */
const LOOK_MS = 1000

interface Needs {
  haproxy(commands: readonly string[]): Promise<string>
  /** Of the pooler for reads. */
  reconnect(): Promise<void>
  log: Logger
}

/** One look: rejects where HAProxy or the pooler does not answer; the next look does it then. */
export function makeReaderFollower({ haproxy, reconnect, log }: Needs): () => Promise<void> {
  let seen: string | undefined
  /** Those whom the pooler knows; at first it may know others, from before this agent. */
  let followed: string | undefined
  return async () => {
    const serving = servingReaders(await haproxy(['show servers state replicas'])).join(' ')
    const isSteady = serving === seen
    seen = serving
    if (!isSteady || serving === followed) return
    await reconnect()
    log.info({ from: followed, to: serving }, 'readers follow')
    followed = serving
  }
}

/** Looks until `signal` aborts. */
export async function followReaders(needs: Needs, signal: AbortSignal): Promise<void> {
  const look = makeReaderFollower(needs)
  while (!signal.aborted) {
    // A HAProxy or a pooler that is away has no readers, and settle-gateway.ts says that it is.
    await look().catch(() => undefined)
    await pause(LOOK_MS, signal)
  }
}

/** Pure: who takes new readers, by HAProxy's `show servers state` (management.txt, 9.3). */
export function servingReaders(state: string): string[] {
  return state
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, backend, , , , op, admin]) => backend === 'replicas' && op === '2' && admin === '0')
    .map(([, , , name = '']) => name)
    .sort()
}
