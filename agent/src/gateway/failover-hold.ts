// Owns the hold of a gateway's clients while nobody leads: with nothing to connect to, the pooler
// would only collect refusals, turn new logins away for them, and be late at the new leader.
// Whoever had no transaction under way waits instead. It always ends: when a leader writes, when
// its time is up, when the agent stops, and with the agent that starts next.
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { pause } from '../wake.ts'
import { resumeSurely } from './client-hold.ts'
import { openConsole, type PoolerAddress, type PoolerConsole } from './pgbouncer-admin.ts'

/** Longer than any failover; then clients get the pooler's own errors rather than silence. */
const HOLD_MS_MAX = 30_000
/** The consoles are looked after this often: PgBouncer may have been restarted. */
const LOOK_MS = 1000

export interface FailoverHold {
  /** Does not wait for anything. */
  begin(): void
  end(): Promise<void>
  isHolding(): boolean
  done: Promise<void>
}

/** Two: while one waits for the end of its PAUSE, only another can RESUME. */
interface Consoles {
  pausing: PoolerConsole
  resuming: PoolerConsole
}

export function makeFailoverHold(
  cluster: WatchedCluster,
  pooler: PoolerAddress,
  log: Logger,
  signal: AbortSignal,
): FailoverHold {
  let consoles: Consoles | undefined
  let timer: NodeJS.Timeout | undefined

  function close(): void {
    const closed = consoles
    consoles = undefined
    void closed?.pausing.close()
    void closed?.resuming.close()
  }

  async function end(): Promise<void> {
    if (timer === undefined) return
    clearTimeout(timer)
    timer = undefined
    const resumed = await consoles?.resuming.resume().then(
      () => true,
      () => false,
    )
    if (resumed !== true) await resumeSurely(cluster, pooler, log)
    // The one that paused may still wait for an answer: both are opened anew.
    close()
  }

  async function lookAfter(): Promise<void> {
    while (!signal.aborted) {
      try {
        if (consoles === undefined) consoles = await openConsoles(cluster, pooler)
        else if (timer === undefined) await consoles.pausing.countWaiting()
      } catch (error) {
        log.debug({ error: describeError(error) }, 'the pooler has no console for us yet')
        if (timer === undefined) close()
      }
      await pause(LOOK_MS, signal)
    }
    await end()
    close()
  }

  return {
    begin() {
      if (consoles === undefined || timer !== undefined) return
      timer = setTimeout(() => {
        log.warn('nobody leads for long: clients are let go')
        void end()
      }, HOLD_MS_MAX)
      void consoles.pausing.pause(HOLD_MS_MAX).then(
        // A RESUME that overtook it has let nobody go.
        () => (timer === undefined ? resumeSurely(cluster, pooler, log) : undefined),
        (error: unknown) => {
          log.warn({ error: describeError(error) }, 'cannot hold the clients')
        },
      )
    },
    end,
    isHolding: () => timer !== undefined,
    done: lookAfter(),
  }
}

async function openConsoles(cluster: WatchedCluster, pooler: PoolerAddress): Promise<Consoles> {
  const [pausing, resuming] = await Promise.all([
    openConsole(cluster, pooler),
    openConsole(cluster, pooler),
  ])
  return { pausing, resuming }
}
