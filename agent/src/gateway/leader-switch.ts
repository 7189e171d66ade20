// Owns the switch of one gateway: everything goes to the instance that leads and accepts writes,
// within milliseconds of the moment when it does. It also owns the hold of a planned switchover,
// and always lets go of it.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type pg from 'pg'
import type { Logger } from 'pino'
import { hasCode } from '../atomic-file.ts'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { endSession, openSession } from '../pg-session.ts'
import { pause } from '../wake.ts'
import {
  type ClientHold,
  type HoldReport,
  makeClientHold,
  NOTHING_HELD,
  resumeSurely,
} from './client-hold.ts'
import { type FailoverHold, makeFailoverHold } from './failover-hold.ts'
import { commandHaproxy, cutCommands, readerCommands, switchCommands } from './haproxy-runtime.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'
import { makeReplicaDrains, type ReplicaDrains } from './replica-drain.ts'

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
/** A view of the dcs that is older does not say that nobody leads. */
const FRESH_VIEW_MS = 2000
const HISTORY_TIMEOUT_MS = 10_000
const RELOAD_MS_MAX = 3000

export interface LeaderSwitch {
  gatewayId: string
  /**
   * Holds the clients of the write endpoint until another leader accepts writes, at most
   * `holdMsMax`.
   */
  hold(pauseTimeoutMs: number, holdMsMax: number): Promise<HoldReport>
  /** Lets go, whatever was going on. Returns the report of the last hold. */
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
  const { cluster, gateway, watch, log, signal } = needs
  const parts: Parts = {
    socket: join(needs.rootPath, gateway.socket),
    servers: cluster.instances.map((instance) => instance.name),
    hold: makeClientHold(cluster, writePoolerOf(gateway), log.child({ gateway: gateway.name })),
    failoverHold: makeFailoverHold(cluster, writePoolerOf(gateway), log, signal),
    drains: makeReplicaDrains(join(needs.rootPath, gateway.socket), cluster, readPoolerOf(gateway)),
  }
  const { hold, failoverHold, drains } = parts
  const actions = makeActions(needs, parts)
  const done = (async () => {
    // Whatever an agent before us held: a pause must not outlive the one who knows why.
    await resumeSurely(cluster, writePoolerOf(gateway), log, 1)
    await drains.endAll().catch(() => undefined)
    await followLeader(needs, parts, actions)
    await hold.release('asked')
    await failoverHold.done
  })()
  return {
    gatewayId: gateway.id,
    async hold(pauseTimeoutMs, holdMsMax) {
      if (failoverHold.isHolding()) return { ...NOTHING_HELD, reason: 'nobody leads now' }
      return hold.start(watch.view()?.leader?.name ?? '', pauseTimeoutMs, holdMsMax)
    },
    async release() {
      // HAProxy may have been reloaded meanwhile: nobody is let go before it points right again.
      const leader = actions.pointsTo()
      if (leader !== undefined) await pointSurely(() => actions.point(leader), signal)
      return hold.release('asked')
    },
    drain: drains.drain,
    done,
  }
}

interface Parts {
  /** HAProxy's. */
  socket: string
  servers: readonly string[]
  hold: ClientHold
  failoverHold: FailoverHold
  drains: ReplicaDrains
}

const writePoolerOf = ({ address, writePort: port }: Gateway): PoolerAddress => ({ address, port })
const readPoolerOf = ({ address, readPort: port }: Gateway): PoolerAddress => ({ address, port })

interface Actions {
  pointsTo(): string | undefined
  point(leader: string | undefined): Promise<void>
  leave(gone: string): Promise<void>
  onWritable(leader: string): Promise<void>
}

function makeActions(needs: Needs, { socket, servers, hold, failoverHold, drains }: Parts) {
  const { cluster, gateway, log } = needs
  let pointsTo: string | undefined
  let lastLeader: string | undefined
  let lostMs = performance.now()
  const actions: Actions = {
    pointsTo: () => pointsTo,
    async point(leader) {
      const before = pointsTo
      await commandHaproxy(socket, switchCommands(servers, leader))
      pointsTo = leader
      if (leader === undefined && before !== undefined) lostMs = performance.now()
      if (leader === before) return
      log.info({ gateway: gateway.name, from: before, to: leader }, 'switched')
    },
    // Nobody leads: who comes waits in the pooler rather than meet a dying instance.
    async leave(gone) {
      if (hold.heldSinceMs() === undefined) failoverHold.begin()
      await actions.point(undefined)
      await commandHaproxy(socket, cutCommands(gone))
    },
    async onWritable(leader) {
      const before = lastLeader
      // A key that went from hand to hand: nobody was seen to be gone in between.
      if (pointsTo !== undefined) lostMs = performance.now()
      await actions.point(leader)
      await commandHaproxy(socket, readerCommands(servers, leader, drains.drained()))
      lastLeader = leader
      const held = hold.heldSinceMs()
      await hold.onWritable(leader)
      await failoverHold.end()
      if (before !== undefined && before !== leader) {
        const gapMs = Math.max(0, Math.round(performance.now() - (held ?? lostMs)))
        void tellChange(needs, { leader, before, gapMs, planned: held !== undefined })
      }
      // Readers of the instance that leads now are handed over to replicas, as their transactions
      // end.
      if (before !== undefined) void reconnect(cluster, readPoolerOf(gateway)).catch(() => {})
    },
  }
  return actions
}

/**
 * Patroni writes where the new timeline began a moment after it began: the story waits for it,
 * nobody else does.
 */
async function tellChange(
  { cluster, gateway, watch, events, signal }: Needs,
  change: { leader: string; before: string; gapMs: number; planned: boolean },
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

/** A HAProxy that is being reloaded has no socket for a moment. */
async function pointSurely(point: () => Promise<void>, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + RELOAD_MS_MAX
  while (!signal.aborted) {
    const done = await point().then(
      () => true,
      () => performance.now() > deadlineMs,
    )
    if (done) return
    await pause(UNREACHABLE_POLL_MS, signal)
  }
}

async function reconnect(cluster: WatchedCluster, pooler: PoolerAddress): Promise<void> {
  const adminConsole = await openConsole(cluster, pooler)
  await adminConsole.reconnect().finally(() => adminConsole.close())
}

/** Points at the leader as soon as it writes, and again whenever HAProxy has forgotten. */
async function followLeader(
  needs: Needs,
  { socket, servers }: Parts,
  { pointsTo, point, leave, onWritable }: Actions,
): Promise<void> {
  const { cluster, watch, signal, log } = needs
  let changed = () => {}
  const end = watch.subscribe(() => changed())
  while (!signal.aborted) {
    const wake = new Promise<void>((resolve) => {
      changed = resolve
    })
    const leader = watch.view()?.leader?.name
    try {
      if (leader !== undefined && leader !== pointsTo()) {
        const instance = cluster.instances.find((candidate) => candidate.name === leader)
        const stillLeads = () => watch.view()?.leader?.name === leader && !signal.aborted
        const late = (why: string) =>
          log.warn({ gateway: needs.gateway.name, leader, why }, 'the leader does not write yet')
        if (
          instance !== undefined &&
          (await becomesWritable(cluster, instance, stillLeads, late))
        ) {
          await onWritable(leader)
          continue
        }
      } else if (
        leader === undefined &&
        pointsTo() !== undefined &&
        watch.silentMs() < FRESH_VIEW_MS
      ) {
        await leave(pointsTo() as string)
      } else if (!(await isInForce(socket, servers, pointsTo()))) {
        await point(pointsTo())
      }
    } catch (error) {
      log.warn({ gateway: needs.gateway.name, error: describeError(error) }, 'cannot switch yet')
    }
    await Promise.race([wake, pause(RESYNC_MS, signal)])
  }
  end()
}

/** Whether HAProxy still has the leader up and everybody else down in the backend for writes. */
async function isInForce(
  socket: string,
  servers: readonly string[],
  leader: string | undefined,
): Promise<boolean> {
  const state = await commandHaproxy(socket, ['show servers state write'])
  const up = state
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[1] === 'write' && servers.includes(fields[3] ?? ''))
    .filter((fields) => fields[5] === '2')
    .map((fields) => fields[3])
  return leader === undefined ? up.length === 0 : up.length === 1 && up[0] === leader
}

/**
 * Asks the instance itself, over the connection that clients will use. False when it lost the lead
 * meanwhile.
 */
async function becomesWritable(
  cluster: WatchedCluster,
  instance: Instance,
  stillLeads: () => boolean,
  late: (why: string) => void,
): Promise<boolean> {
  let toldMs = performance.now()
  const tellIfLate = (why: string) => {
    if (performance.now() - toldMs < LATE_MS) return
    toldMs = performance.now()
    late(why)
  }
  const options = {
    host: instance.address,
    port: instance.postgresPort,
    database: 'postgres',
    user: cluster.probe.user,
    password: cluster.probe.password,
    query_timeout: ASK_TIMEOUT_MS,
    ssl: { ca: cluster.caPem, checkServerIdentity: () => undefined },
  }
  while (stillLeads()) {
    let client: pg.Client | undefined
    try {
      client = await openSession(options, CONNECT_TIMEOUT_MS)
      while (stillLeads()) {
        const { rows } = await client.query<{ standby: boolean }>(
          'select pg_catalog.pg_is_in_recovery() as standby',
        )
        if (rows[0]?.standby === false) return true
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
