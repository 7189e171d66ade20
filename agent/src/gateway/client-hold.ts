// Owns the hold of a gateway's clients during a planned switchover. Whatever happens to whoever
// asked for it, it ends: when another leader accepts writes, when its time is up, or when the agent
// stops; and an agent that starts lets go of what the one before it held.
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { pause } from '../wake.ts'
import { openConsole, type PoolerAddress, type PoolerConsole } from './pgbouncer-admin.ts'

export interface HoldReport {
  held: boolean
  /** Why nothing is held. */
  reason: string
  heldMs: number
  /** Clients that waited when they were let go, and how long the one that waited longest did. */
  clients: number
  waitedMsMax: number
  releasedBy: 'new-leader' | 'timeout' | 'asked' | ''
}

export interface ClientHold {
  /** `fromLeader`: the hold ends as soon as another one accepts writes. */
  start(fromLeader: string, pauseTimeoutMs: number, holdMsMax: number): Promise<HoldReport>
  /** Must be called with each leader that accepts writes, after the switch points at it. */
  onWritable(leader: string): Promise<void>
  release(by: HoldReport['releasedBy']): Promise<HoldReport>
  /** When the present hold began (performance.now); undefined: nobody is held. */
  heldSinceMs(): number | undefined
}

interface Hold {
  fromLeader: string
  startedMs: number
  timer: NodeJS.Timeout
  adminConsole: PoolerConsole
}

export const NOTHING_HELD: HoldReport = {
  held: false,
  reason: 'nothing was held',
  heldMs: 0,
  clients: 0,
  waitedMsMax: 0,
  releasedBy: '',
}

const RETRY_MS = 50

export function makeClientHold(
  cluster: WatchedCluster,
  pooler: PoolerAddress,
  log: Logger,
): ClientHold {
  let hold: Hold | undefined
  let lastReport = NOTHING_HELD

  async function release(by: HoldReport['releasedBy']): Promise<HoldReport> {
    const ended = hold
    if (ended === undefined) return lastReport
    hold = undefined
    clearTimeout(ended.timer)
    const waiting = await ended.adminConsole.countWaiting().catch(() => undefined)
    await ended.adminConsole.resume().catch(() => resumeSurely(cluster, pooler, log))
    const heldMs = Math.round(performance.now() - ended.startedMs)
    lastReport = {
      held: true,
      reason: '',
      heldMs,
      clients: waiting?.count ?? 0,
      waitedMsMax: waiting?.waitedMsMax ?? 0,
      releasedBy: by,
    }
    log.info(lastReport, 'clients released')
    void ended.adminConsole.close()
    return lastReport
  }

  return {
    release,
    heldSinceMs: () => hold?.startedMs,
    async start(fromLeader, pauseTimeoutMs, holdMsMax) {
      if (hold !== undefined) return { ...NOTHING_HELD, reason: 'clients are held already' }
      const adminConsole = await openConsole(cluster, pooler)
      const timer = setTimeout(() => {
        log.warn({ holdMsMax }, 'held long enough: clients are let go')
        void release('timeout')
      }, holdMsMax)
      hold = { fromLeader, startedMs: performance.now(), timer, adminConsole }
      const paused = await adminConsole.pause(pauseTimeoutMs).catch((error: unknown) => {
        log.warn({ error: describeError(error) }, 'cannot hold the clients')
        return false
      })
      if (paused) return { ...NOTHING_HELD, held: true, reason: '' }
      // The console is busy with its PAUSE: another session has to end it.
      await resumeSurely(cluster, pooler, log)
      await release('asked')
      return { ...NOTHING_HELD, reason: `a transaction did not end within ${pauseTimeoutMs} ms` }
    },
    async onWritable(leader) {
      if (hold !== undefined && hold.fromLeader !== leader) await release('new-leader')
    },
  }
}

/** RESUME must not fail for good: nobody else would give it. A pooler that is gone holds nobody. */
export async function resumeSurely(
  cluster: WatchedCluster,
  pooler: PoolerAddress,
  log: Logger,
  tries = 200,
): Promise<void> {
  for (let tried = 1; tried <= tries; tried += 1) {
    try {
      const adminConsole = await openConsole(cluster, pooler)
      await adminConsole.resume().finally(() => adminConsole.close())
      return
    } catch (error) {
      if (tried % 20 === 0) log.warn({ error: describeError(error) }, 'cannot release clients yet')
      await pause(RETRY_MS, new AbortController().signal)
    }
  }
}
