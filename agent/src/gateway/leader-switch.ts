// Owns the switch of one gateway: everything goes to the instance that leads and accepts writes,
// within milliseconds of the moment when it does. What that means is settle-gateway.ts's; here is
// what wakes it, and whom it asks and tells.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type pg from 'pg'
import type { Logger } from 'pino'
import { hasCode } from '../atomic-file.ts'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { endSession, openSession } from '../pg-session.ts'
import { makeWake, pause } from '../wake.ts'
import { commandHaproxy } from './haproxy-runtime.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'
import { type HoldReport, NOTHING_HELD, startPoolerHold } from './pooler-hold.ts'
import { makeReplicaDrains, type ReplicaDrains } from './replica-drain.ts'
import { type LeaderChange, makeSettler } from './settle-gateway.ts'

type Gateway = WatchedCluster['localGateways'][number]
type Instance = WatchedCluster['instances'][number]

/** How often a candidate is asked whether it accepts writes; a promotion takes about 100 ms. */
const WRITABLE_POLL_MS = 2
/** The same for one that cannot be asked: each try is a new connection. */
const UNREACHABLE_POLL_MS = 20
/** A leader that does not write for so long is told of, each time that it is over. */
const LATE_MS = 5000
const CONNECT_TIMEOUT_MS = 1000
const ASK_TIMEOUT_MS = 1000
/** What HAProxy has is compared with what it should have this often: it may have been restarted. */
const RESYNC_MS = 200
const REFRESH_TIMEOUT_MS = 1000
const HISTORY_TIMEOUT_MS = 10_000

export interface LeaderSwitch {
  gatewayId: string
  /**
   * Holds the clients of the write endpoint until another leader accepts writes, at most
   * `holdMsMax`.
   */
  hold(pauseTimeoutMs: number, holdMsMax: number): Promise<HoldReport>
  /**
   * Lets go, once everything points at the instance that leads by now. Returns the report of the
   * last hold.
   */
  release(): Promise<HoldReport>
  drain: ReplicaDrains['drain']
  done: Promise<void>
}

interface Needs {
  cluster: WatchedCluster
  gateway: Gateway
  watch: ClusterWatch
  rootPath: string
  events: EventStore
  log: Logger
  signal: AbortSignal
}

export function startLeaderSwitch(needs: Needs): LeaderSwitch {
  const { cluster, gateway, watch, signal } = needs
  const log = needs.log.child({ gateway: gateway.name })
  const socket = join(needs.rootPath, gateway.socket)
  const open = () => openConsole(cluster, writePoolerOf(gateway))
  const hold = startPoolerHold({ open, log, signal })
  const drains = makeReplicaDrains(socket, cluster, readPoolerOf(gateway))
  const instanceOf = (name: string) => cluster.instances.find((each) => each.name === name)
  const settler = makeSettler({
    servers: cluster.instances.map(({ name }) => name),
    watch,
    hold,
    drained: drains.drained,
    haproxy: (commands) => commandHaproxy(socket, commands),
    async becomesWritable(leader, stillWanted, onCaughtUp) {
      const instance = instanceOf(leader)
      const goesOn = () => stillWanted() && !signal.aborted
      const late = (why: string) => log.warn({ leader, why }, 'the leader does not write yet')
      return (
        instance !== undefined && becomesWritable(cluster, instance, { goesOn, onCaughtUp, late })
      )
    },
    async isReplica(name) {
      const instance = instanceOf(name)
      return instance !== undefined && isReplica(cluster, instance)
    },
    onChange(change) {
      void tellChange(needs, change)
      // Readers of the instance that leads now are handed over to replicas, as their transactions
      // end.
      void reconnect(cluster, readPoolerOf(gateway)).catch(() => undefined)
    },
    log,
  })
  const rounds = makeRounds(settler.settle, { watch, log, signal })
  const done = (async () => {
    await drains.endAll().catch(() => undefined)
    await rounds.run()
    await hold.done
  })()
  return {
    gatewayId: gateway.id,
    async hold(pauseTimeoutMs, holdMsMax) {
      const leader = watch.view()?.leader?.name
      if (leader === undefined) return { ...NOTHING_HELD, reason: 'nobody leads now' }
      return hold.hold(leader, pauseTimeoutMs, holdMsMax)
    },
    async release() {
      const held = hold.held()
      if (held?.planned !== true) return hold.lastReport()
      // What we know may be older than what whoever asks knows. Without a dcs it stays so.
      const isFresh = await watch.refresh(REFRESH_TIMEOUT_MS)
      if (isFresh) await Promise.race([rounds.settled(), held.ended])
      // Those that wait because nobody leads by now are no business of an operation.
      return hold.held() === held ? hold.release('asked') : hold.lastReport()
    },
    drain: drains.drain,
    done,
  }
}

const writePoolerOf = ({ address, writePort: port }: Gateway): PoolerAddress => ({ address, port })
const readPoolerOf = ({ address, readPort: port }: Gateway): PoolerAddress => ({ address, port })

/** One round after the other: at each change of the view, and now and then. */
function makeRounds(
  settle: () => Promise<boolean>,
  { watch, log, signal }: Pick<Needs, 'watch' | 'log' | 'signal'>,
) {
  const wake = makeWake()
  let waiting: (() => void)[] = []
  return {
    /** A round has found everything as the present view wants it, or has made it so. */
    settled(): Promise<void> {
      wake.wake()
      return new Promise((resolve) => waiting.push(resolve))
    },
    async run(): Promise<void> {
      const end = watch.subscribe(wake.wake)
      while (!signal.aborted) {
        const settled = await settle().catch((error: unknown) => {
          log.warn({ error: describeError(error) }, 'cannot switch yet')
          return false
        })
        if (settled) {
          for (const tell of waiting) tell()
          waiting = []
        }
        await wake.wait(RESYNC_MS, signal)
      }
      end()
    },
  }
}

/**
 * Patroni writes where the new timeline began a moment after it began: the story waits for it,
 * nobody else does.
 */
async function tellChange(
  { cluster, gateway, watch, events, signal }: Needs,
  change: LeaderChange,
): Promise<void> {
  const deadlineMs = performance.now() + HISTORY_TIMEOUT_MS
  const history = () => {
    const last = watch.view()?.lastTimeline
    return last?.newLeader === change.leader ? last : undefined
  }
  while (history() === undefined && performance.now() < deadlineMs && !signal.aborted) {
    await pause(RESYNC_MS, signal)
  }
  const found = history()
  await events.add({
    clusterId: cluster.id,
    kind: 'leader-changed',
    instance: change.leader,
    from: change.before,
    gateway: gateway.name,
    planned: change.planned,
    gapMs: change.gapMs,
    message:
      `${gateway.name} points at it, ` + `${change.gapMs} ms after it pointed at ${change.before}`,
    ...(found === undefined ? {} : { timeline: found.timeline, lsn: found.switchLsn }),
  })
}

async function reconnect(cluster: WatchedCluster, pooler: PoolerAddress): Promise<void> {
  const adminConsole = await openConsole(cluster, pooler)
  await adminConsole.reconnect().finally(() => adminConsole.close())
}

interface Wait {
  goesOn(): boolean
  onCaughtUp(): Promise<void>
  late(why: string): void
}

/**
 * Asks the instance itself, over the connection that clients will use. False when it lost the lead
 * meanwhile.
 */
async function becomesWritable(
  cluster: WatchedCluster,
  instance: Instance,
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
      client = await openProbe(cluster, instance)
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
      // It is starting, or gone: asked again for as long as it holds the key. A new cluster has no
      // probe role yet, and each question costs both sides a handshake.
      tellIfLate(describeError(error))
      const refused = hasCode(error, '28P01')
      await pause(refused ? RESYNC_MS : UNREACHABLE_POLL_MS, new AbortController().signal)
    } finally {
      if (client !== undefined) await endSession(client)
    }
  }
  return false
}

/** False where it cannot be asked. */
async function isReplica(cluster: WatchedCluster, instance: Instance): Promise<boolean> {
  try {
    const client = await openProbe(cluster, instance)
    const { writes } = await askRole(client).finally(() => endSession(client))
    return !writes
  } catch {
    return false
  }
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
