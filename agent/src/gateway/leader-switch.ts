// Owns the switch of one gateway: everything goes to the instance that leads and accepts writes,
// within milliseconds of the moment when it does. It also owns the hold of a planned switchover,
// and always lets go of it.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import pg from 'pg'
import type { Logger } from 'pino'
import { hasCode } from '../atomic-file.ts'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { pause } from '../wake.ts'
import { type HoldReport, makeClientHold, resumeSurely } from './client-hold.ts'
import { commandHaproxy, cutCommands, readerCommands, switchCommands } from './haproxy-runtime.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'
import { makeReplicaDrains, type ReplicaDrains } from './replica-drain.ts'

type Gateway = WatchedCluster['localGateways'][number]
type Instance = WatchedCluster['instances'][number]

/** How often a candidate is asked whether it accepts writes; a promotion takes about 100 ms. */
const WRITABLE_POLL_MS = 5
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
  const socket = join(needs.rootPath, gateway.socket)
  const writePooler: PoolerAddress = { address: gateway.address, port: gateway.writePort }
  const readPooler: PoolerAddress = { address: gateway.address, port: gateway.readPort }
  const servers = cluster.instances.map((instance) => instance.name)
  const hold = makeClientHold(cluster, writePooler, log.child({ gateway: gateway.name }))
  const drains = makeReplicaDrains(socket, cluster, readPooler)
  let pointsTo: string | undefined
  let lastLeader: string | undefined
  let lostMs = performance.now()

  async function point(leader: string | undefined): Promise<void> {
    const before = pointsTo
    await commandHaproxy(socket, switchCommands(servers, leader))
    pointsTo = leader
    if (leader === undefined && before !== undefined) lostMs = performance.now()
    if (leader !== before) log.info({ gateway: gateway.name, from: before, to: leader }, 'switched')
  }

  async function onWritable(leader: string): Promise<void> {
    const before = lastLeader
    // A key that went from hand to hand: nobody was seen to be gone in between.
    if (pointsTo !== undefined) lostMs = performance.now()
    await point(leader)
    await commandHaproxy(socket, readerCommands(servers, leader, drains.drained()))
    lastLeader = leader
    const held = hold.heldSinceMs()
    await hold.onWritable(leader)
    if (before !== undefined && before !== leader) {
      const gapMs = Math.max(0, Math.round(performance.now() - (held ?? lostMs)))
      void tellChange(needs, { leader, before, gapMs, planned: held !== undefined })
    }
    // Readers of the instance that leads now are handed over to replicas, as their transactions
    // end.
    if (before !== undefined) void reconnect(cluster, readPooler).catch(() => undefined)
  }

  const done = (async () => {
    // Whatever an agent before us held: a pause must not outlive the one who knows why.
    await resumeSurely(cluster, writePooler, log, 1)
    await drains.endAll().catch(() => undefined)
    await followLeader(needs, socket, servers, () => pointsTo, point, onWritable)
    await hold.release('asked')
  })()

  return {
    gatewayId: gateway.id,
    hold: (pauseTimeoutMs, holdMsMax) =>
      hold.start(watch.view()?.leader?.name ?? '', pauseTimeoutMs, holdMsMax),
    async release() {
      // HAProxy may have been reloaded meanwhile: nobody is let go before it points right again.
      if (pointsTo !== undefined) await pointSurely(() => point(pointsTo), signal)
      return hold.release('asked')
    },
    drain: drains.drain,
    done,
  }
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
    await pause(WRITABLE_POLL_MS * 4, signal)
  }
}

async function reconnect(cluster: WatchedCluster, pooler: PoolerAddress): Promise<void> {
  const adminConsole = await openConsole(cluster, pooler)
  await adminConsole.reconnect().finally(() => adminConsole.close())
}

/** Points at the leader as soon as it writes, and again whenever HAProxy has forgotten. */
async function followLeader(
  needs: Needs,
  socket: string,
  servers: readonly string[],
  pointsTo: () => string | undefined,
  point: (leader: string | undefined) => Promise<void>,
  onWritable: (leader: string) => Promise<void>,
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
        if (instance !== undefined && (await becomesWritable(cluster, instance, stillLeads))) {
          await onWritable(leader)
          continue
        }
      } else if (
        leader === undefined &&
        pointsTo() !== undefined &&
        watch.silentMs() < FRESH_VIEW_MS
      ) {
        // Nobody leads: new connections wait in the pooler rather than meet a dying instance.
        const gone = pointsTo() as string
        await point(undefined)
        await commandHaproxy(socket, cutCommands(gone))
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
): Promise<boolean> {
  while (stillLeads()) {
    const client = new pg.Client({
      host: instance.address,
      port: instance.postgresPort,
      database: 'postgres',
      user: cluster.probe.user,
      password: cluster.probe.password,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: ASK_TIMEOUT_MS,
      ssl: { ca: cluster.caPem, checkServerIdentity: () => undefined },
    })
    client.on('error', () => undefined)
    try {
      await client.connect()
      while (stillLeads()) {
        const { rows } = await client.query<{ standby: boolean }>(
          'select pg_catalog.pg_is_in_recovery() as standby',
        )
        if (rows[0]?.standby === false) return true
        await pause(WRITABLE_POLL_MS, new AbortController().signal)
      }
    } catch (error) {
      // It is starting, or gone: asked again for as long as it holds the key. A new cluster has no
      // probe role yet, and each question costs both sides a handshake.
      const refused = hasCode(error, '28P01')
      await pause(refused ? RESYNC_MS : WRITABLE_POLL_MS * 4, new AbortController().signal)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  return false
}
