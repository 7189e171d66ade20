// Owns how a gateway asks an instance whether it leads: over the connection that clients will use,
// every other millisecond while it is promoted.
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type pg from 'pg'
import type { Logger } from 'pino'
import { hasCode } from '../atomic-file.ts'
import { endSession, openSession } from '../pg-session.ts'
import { pause } from '../wake.ts'

type Instance = WatchedCluster['instances'][number]

/** How often a candidate is asked whether it accepts writes; a promotion takes about 100 ms. */
const WRITABLE_POLL_MS = 2
/** The same for one that cannot be asked: each try is a new connection. */
const UNREACHABLE_POLL_MS = 20
/** One without a probe role is asked less often: each question costs both sides a handshake. */
const REFUSED_POLL_MS = 200
/** A leader that does not write for so long is told of, each time that it is over. */
const LATE_MS = 5000
const CONNECT_TIMEOUT_MS = 1000
const ASK_TIMEOUT_MS = 1000

export interface LeaderProbe {
  /**
   * Waits until the instance writes; false when it is not wanted any more, or unknown. `onCaughtUp`
   * is called, and waited for, at most once: when it does not write yet and has replayed all that
   * it has.
   */
  becomesWritable(
    name: string,
    stillWanted: () => boolean,
    onCaughtUp: () => Promise<void>,
  ): Promise<boolean>
  /** False where it cannot be asked. */
  isReplica(name: string): Promise<boolean>
  /**
   * Logs in beforehand, so that `becomesWritable` need not wait for that; until `over`. Whatever
   * goes wrong here it finds out itself.
   */
  prepare(name: string, over: Promise<void>): void
}

export function makeLeaderProbe(
  cluster: WatchedCluster,
  log: Logger,
  signal: AbortSignal,
): LeaderProbe {
  const instanceOf = (name: string) => cluster.instances.find((each) => each.name === name)
  const prepared = new Map<string, Promise<pg.Client | undefined>>()

  async function take(name: string): Promise<pg.Client | undefined> {
    const session = prepared.get(name)
    prepared.delete(name)
    return await session
  }

  return {
    prepare(name, over) {
      const instance = instanceOf(name)
      if (instance === undefined || prepared.has(name)) return
      const session = openProbe(cluster, instance).catch(() => undefined)
      prepared.set(name, session)
      void over.then(async () => {
        if (prepared.get(name) !== session) return
        const client = await take(name)
        if (client !== undefined) await endSession(client)
      })
    },
    async becomesWritable(name, stillWanted, onCaughtUp) {
      const instance = instanceOf(name)
      if (instance === undefined) return false
      const open = async () => (await take(name)) ?? (await openProbe(cluster, instance))
      const late = (why: string) => log.warn({ leader: name, why }, 'the leader does not write yet')
      const goesOn = () => stillWanted() && !signal.aborted
      return await becomesWritable(open, { goesOn, onCaughtUp, late })
    },
    async isReplica(name) {
      const instance = instanceOf(name)
      if (instance === undefined) return false
      try {
        const client = await openProbe(cluster, instance)
        const { writes } = await askRole(client).finally(() => endSession(client))
        return !writes
      } catch {
        return false
      }
    },
  }
}

interface Wait {
  goesOn(): boolean
  onCaughtUp(): Promise<void>
  late(why: string): void
}

async function becomesWritable(
  open: () => Promise<pg.Client>,
  { goesOn, onCaughtUp, late }: Wait,
): Promise<boolean> {
  let told = false
  let toldMs = performance.now()
  const tellIfLate = (why: string) => {
    if (performance.now() - toldMs < LATE_MS) return
    toldMs = performance.now()
    late(why)
  }
  while (goesOn()) {
    let client: pg.Client | undefined
    try {
      client = await open()
      while (goesOn()) {
        const { writes, caughtUp } = await askRole(client)
        if (writes) return true
        if (caughtUp && !told) {
          told = true
          await onCaughtUp()
        }
        tellIfLate('it is in recovery')
        await pause(WRITABLE_POLL_MS, new AbortController().signal)
      }
    } catch (error) {
      // It is starting, or gone: asked again for as long as it holds the key.
      tellIfLate(describeError(error))
      const refused = hasCode(error, '28P01')
      await pause(refused ? REFUSED_POLL_MS : UNREACHABLE_POLL_MS, new AbortController().signal)
    } finally {
      // Nobody waits for its goodbye.
      if (client !== undefined) void endSession(client)
    }
  }
  return false
}

function openProbe(cluster: WatchedCluster, instance: Instance): Promise<pg.Client> {
  const options = {
    host: instance.address,
    port: instance.postgresPort,
    database: 'postgres',
    user: cluster.probe.user,
    password: cluster.probe.password,
    query_timeout: ASK_TIMEOUT_MS,
    ssl: { ca: cluster.caPem, checkServerIdentity: () => undefined },
  }
  return openSession(options, CONNECT_TIMEOUT_MS)
}

/** `caughtUp`: of a replica that has replayed all that it received; false where it cannot tell. */
async function askRole(client: pg.Client): Promise<{ writes: boolean; caughtUp: boolean }> {
  const { rows } = await client.query<{ standby: boolean; caught_up: boolean | null }>(
    `select pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() as caught_up`,
  )
  return { writes: rows[0]?.standby === false, caughtUp: rows[0]?.caught_up === true }
}
