// Owns the switch of one gateway: everything goes to the instance that leads and accepts writes,
// within milliseconds of the moment when it does. What that means is settle-gateway.ts's; here is
// what wakes it, and whom it asks and tells.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import type { ClusterHearing } from '../sentinel/heartbeats.ts'
import { makeWake, pause } from '../wake.ts'
import { followReaders } from './follow-readers.ts'
import { commandHaproxy } from './haproxy-runtime.ts'
import type { LastLeaders } from './last-leaders.ts'
import { makeLeaderProbe } from './leader-probe.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'
import { type HoldReport, NOTHING_HELD, startPoolerHold } from './pooler-hold.ts'
import { makeReplicaDrains, type ReplicaDrains } from './replica-drain.ts'
import { type LeaderChange, makeSettler } from './settle-gateway.ts'

type Gateway = WatchedCluster['localGateways'][number]

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
  hold(pauseTimeoutMs: number, holdMsMax: number, operationId?: string): Promise<HoldReport>
  /**
   * Lets go, once everything points at the instance that leads by now. Returns the report of the
   * last hold, or that nothing was held where that was not for the operation that asks.
   */
  release(operationId?: string): Promise<HoldReport>
  /** Clients of the write endpoint are held, whoever asked for it. */
  isHeld(): boolean
  drain: ReplicaDrains['drain']
  done: Promise<void>
}

interface Needs {
  cluster: WatchedCluster
  gateway: Gateway
  watch: ClusterWatch
  hearing: Pick<ClusterHearing, 'hold'>
  rootPath: string
  events: EventStore
  leaders: LastLeaders
  log: Logger
  signal: AbortSignal
}

export function startLeaderSwitch(needs: Needs): LeaderSwitch {
  const { cluster, gateway, watch, signal } = needs
  const log = needs.log.child({ gateway: gateway.name })
  const socket = join(needs.rootPath, gateway.socket)
  const haproxy = (commands: readonly string[]) => commandHaproxy(socket, commands)
  const open = () => openConsole(cluster, writePoolerOf(gateway))
  const hold = startPoolerHold({ open, log, signal })
  const drains = makeReplicaDrains(socket, cluster, readPoolerOf(gateway))
  const probe = makeLeaderProbe(cluster, log, signal)
  const settler = makeSettler({
    servers: cluster.instances.map(({ name }) => name),
    watch,
    hold,
    drained: drains.drained,
    haproxy,
    becomesWritable: probe.becomesWritable,
    isReplica: probe.isReplica,
    lastLeader: needs.leaders.of(gateway.id),
    onFirst: (leader) => noteLeader(needs, leader, Promise.resolve()),
    onChange: (change) => noteLeader(needs, change.leader, tellChange(needs, change)),
    log,
  })
  const rounds = makeRounds(settler.settle, { watch, log, signal })
  const done = (async () => {
    await drains.endAll().catch(() => undefined)
    const reconnect = () => reconnectPooler(cluster, readPoolerOf(gateway))
    await Promise.all([rounds.run(), followReaders({ haproxy, reconnect, log }, signal)])
    await hold.done
  })()
  return {
    gatewayId: gateway.id,
    async hold(pauseTimeoutMs, holdMsMax, operationId) {
      const leader = watch.view()?.leader?.name
      if (leader === undefined) return { ...NOTHING_HELD, reason: 'nobody leads now' }
      const holding = hold.hold(leader, pauseTimeoutMs, holdMsMax, operationId)
      const candidate = watch.view()?.failover?.candidate
      const ended = hold.held()?.ended
      if (candidate !== undefined && ended !== undefined) probe.prepare(candidate, ended)
      const report = await holding
      if (report.held) {
        // The leader's host waits for it, too.
        needs.hearing.hold(gateway.id, true)
        void ended?.then(() => needs.hearing.hold(gateway.id, false))
      }
      return report
    },
    async release(operationId) {
      const held = hold.held()
      if (held?.planned !== true) return reportFor(operationId, hold.lastReport())
      // What we know may be older than what whoever asks knows. Without a dcs it stays so.
      const isFresh = await watch.refresh(REFRESH_TIMEOUT_MS)
      if (isFresh) await Promise.race([rounds.settled(), held.ended])
      // Those that wait because nobody leads by now are no business of an operation.
      const report = hold.held() === held ? await hold.release('asked') : hold.lastReport()
      return reportFor(operationId, report)
    },
    isHeld: () => hold.held() !== undefined,
    drain: drains.drain,
    done,
  }
}

/** Control planes of a version before this do not say for which operation they ask. */
function reportFor(operationId: string | undefined, report: HoldReport): HoldReport {
  return operationId === undefined || report.operationId === operationId ? report : NOTHING_HELD
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

/** Nobody waits for the disk. */
function noteLeader(
  { gateway, leaders, log }: Pick<Needs, 'gateway' | 'leaders' | 'log'>,
  leader: string,
  told: Promise<void>,
): void {
  leaders.note(gateway.id, leader, told).catch((error: unknown) => {
    log.error({ gateway: gateway.name, error: describeError(error) }, 'cannot note who leads')
  })
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
  const after =
    change.gapMs === undefined
      ? `after ${change.before}: its agent did not see it happen`
      : `${change.gapMs} ms after it pointed at ${change.before}`
  await events.add({
    clusterId: cluster.id,
    kind: 'leader-changed',
    instance: change.leader,
    from: change.before,
    gateway: gateway.name,
    planned: change.planned,
    message: `${gateway.name} points at it, ${after}`,
    ...(change.gapMs === undefined ? { at: found?.at } : { gapMs: change.gapMs }),
    ...(found === undefined ? {} : { timeline: found.timeline, lsn: found.switchLsn }),
  })
}

async function reconnectPooler(cluster: WatchedCluster, pooler: PoolerAddress): Promise<void> {
  const adminConsole = await openConsole(cluster, pooler)
  await adminConsole.reconnect().finally(() => adminConsole.close())
}
