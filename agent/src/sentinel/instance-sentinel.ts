// Owns the watch over one instance of this host: its postmaster, whether it can write, and whether
// this host is cut off. Where the rules say so it fences the instance and takes its leader key
// away, so that the others need not wait for a lease. Patroni and the dcs decide who leads next.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import {
  ISOLATION_FENCE_MS,
  judgePostmaster,
  SENSITIVITY_LIMITS,
} from '@howdah/core/failover-rules.ts'
import { HOST_LAYOUT, type WatchedCluster } from '@howdah/core/host-spec.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import pg from 'pg'
import type { Logger } from 'pino'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { pause } from '../wake.ts'
import { type FenceTarget, fence } from './fence.ts'
import type { ClusterHearing } from './heartbeats.ts'
import { runPatroniWatchdog } from './patroni-watchdog.ts'
import { findPostmaster, isRunning, type PostmasterId, wasShutDown } from './postmaster.ts'
import { readWalEnd } from './wal-end.ts'

const POLL_MS = 20
const CANARY_MS = 1000
const ISOLATION_POLL_MS = 250
const STALL_ANSWER_MS = 500

export interface SentinelNeeds {
  cluster: WatchedCluster
  instance: WatchedCluster['localInstances'][number]
  watch: ClusterWatch
  hearing: ClusterHearing
  rootPath: string
  events: EventStore
  log: Logger
  /** Whoever may read the data directory, when the agent is root. */
  dropTo: { uid: number; gid: number } | undefined
  signal: AbortSignal
}

export function startInstanceSentinel(needs: SentinelNeeds): { done: Promise<void> } {
  const { instance, rootPath } = needs
  const target: FenceTarget = {
    name: instance.name,
    serviceDirectory: join(rootPath, HOST_LAYOUT.services, instance.service),
    dataDirectory: join(rootPath, instance.dataDirectory),
  }
  const loops = [
    watchPostmaster(needs, target),
    runCanary(needs, target),
    watchIsolation(needs, target),
    runPatroniWatchdog({ ...needs, ...target }),
  ]
  return { done: Promise.all(loops).then(() => undefined) }
}

/** This instance's claim to lead, as last read from the dcs. */
function ownKey({ watch, instance }: SentinelNeeds) {
  const leader = watch.view()?.leader
  return leader?.name === instance.name ? leader : undefined
}

async function watchPostmaster(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, log, watch, instance } = needs
  let known: PostmasterId | undefined
  let said = ''
  let ranMs = performance.now()
  while (!signal.aborted) {
    const stalledMs = performance.now() - ranMs
    ranMs = performance.now()
    if (stalledMs > ISOLATION_FENCE_MS) await fenceAfterStall(needs, target, stalledMs)
    if (known === undefined || !isRunning(known)) {
      const gone = known
      known = findPostmaster(target.dataDirectory)
      const key = ownKey(needs)
      // Only a postmaster that was seen alive can be seen to die: one that was never there is
      // starting.
      if (known === undefined && gone !== undefined && key !== undefined) {
        const view = watch.view()
        const verdict = judgePostmaster({
          alive: false,
          cleanShutdown: wasShutDown(target.dataDirectory),
          holdsLeaderKey: true,
          switchoverPending: view?.failover !== undefined,
          paused: view?.paused === true,
        })
        if (verdict.say !== said)
          log.warn({ instance: instance.name, act: verdict.act }, verdict.say)
        said = verdict.say
        if (verdict.act) {
          if (verdict.fence) await fence(target, verdict.say, log)
          await release(needs, key)
          if (verdict.fence) await tellLoss(needs, target, verdict.say)
        } else known = gone
      }
    } else said = ''
    await pause(POLL_MS, signal)
  }
}

/**
 * After the others may go on: how far this instance had come is read from its disk, before it is
 * rewound.
 */
async function tellLoss(
  { events, cluster, instance, dropTo }: SentinelNeeds,
  target: FenceTarget,
  reason: string,
): Promise<void> {
  const event = { clusterId: cluster.id, instance: instance.name }
  await events.add({ ...event, kind: 'leader-lost', message: reason })
  const end = await readWalEnd(target.dataDirectory, instance.binDirectory, dropTo)
  if (end === undefined) return
  const message = `its WAL ends at ${end.lsn} on timeline ${end.timeline}`
  await events.add({ ...event, kind: 'wal-end-read', message, ...end })
}

/**
 * This very process did not run for longer than a lease may be trusted: the host was frozen, and
 * others may lead by now. PostgreSQL woke up with us and answers its old sessions, so it is fenced
 * unless the dcs says that it still leads.
 */
async function fenceAfterStall(
  needs: SentinelNeeds,
  target: FenceTarget,
  stalledMs: number,
): Promise<void> {
  if (ownKey(needs) === undefined) return
  const answered = await needs.watch.refresh(STALL_ANSWER_MS)
  if (answered && ownKey(needs) !== undefined) return
  const reason = `this host did not run for ${Math.round(stalledMs)} ms`
  await fence(target, reason, needs.log)
  await tellLoss(needs, target, reason)
}

async function release(
  { watch, log, instance }: SentinelNeeds,
  key: NonNullable<ReturnType<typeof ownKey>>,
): Promise<void> {
  try {
    const deleted = await watch.deleteLeaderKey(key)
    log.warn({ instance: instance.name, deleted }, 'took the leader key away')
  } catch (error) {
    // The lease runs out by itself: the failover is later, not lost.
    log.error({ instance: instance.name, error: describeError(error) }, 'cannot reach the dcs')
  }
}

/**
 * A new session writes a row, without waiting for replicas: what is tried is this host. A
 * postmaster that is frozen, or a disk that hangs, answers health checks and old sessions for
 * hours.
 */
async function runCanary(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, log, instance, cluster, watch } = needs
  const limitMs = SENSITIVITY_LIMITS[cluster.sensitivity].canaryMs
  let healthySinceMs = performance.now()
  let wrote = false
  while (!signal.aborted) {
    const key = ownKey(needs)
    const leads = key !== undefined && findPostmaster(target.dataDirectory) !== undefined
    const startedMs = performance.now()
    if (!leads || watch.view()?.paused === true) {
      healthySinceMs = performance.now()
      wrote = false
    } else if (await canWrite(needs, Math.min(limitMs, 3000))) {
      healthySinceMs = performance.now()
      wrote = true
    }
    const silentMs = performance.now() - healthySinceMs
    // A leader that has not written once may still be promoting: Patroni looks after that.
    if (wrote && key !== undefined && silentMs > limitMs) {
      const reason = `no write for ${Math.round(silentMs)} ms`
      await fence(target, reason, log)
      await release(needs, key)
      await tellLoss(needs, target, reason)
      wrote = false
    }
    await pause(Math.max(50, CANARY_MS - (performance.now() - startedMs)), signal)
  }
  log.debug({ instance: instance.name }, 'canary stopped')
}

async function canWrite(
  { instance, rootPath }: SentinelNeeds,
  timeoutMs: number,
): Promise<boolean> {
  const client = new pg.Client({
    host: join(rootPath, HOST_LAYOUT.run),
    port: instance.postgresPort,
    user: PLATFORM_ROLES.superuser,
    password: '',
    database: 'postgres',
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    options: '-c search_path=pg_catalog,pg_temp -c synchronous_commit=local',
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(
      `insert into howdah.canary as c (gateway, written_at, sequence) values ($1, now(), 1)
       on conflict (gateway) do update set written_at = now(), sequence = c.sequence + 1`,
      [instance.name],
    )
    return true
  } catch (error) {
    // An answer, even a refusal, is life: only silence and a lost connection count against it.
    return error instanceof pg.DatabaseError
  } finally {
    const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
    await Promise.race([
      client.end().catch(() => undefined),
      pause(200, new AbortController().signal),
    ])
    connection?.stream?.destroy()
  }
}

/**
 * The deadline of a leader that is cut off: before another host may conclude that it has stopped,
 * it has. It counts on our own clock only, and needs nobody's answer.
 */
async function watchIsolation(needs: SentinelNeeds, target: FenceTarget): Promise<void> {
  const { signal, watch, hearing, log } = needs
  while (!signal.aborted) {
    await pause(ISOLATION_POLL_MS, signal)
    const silentMs = watch.silentMs()
    const alone = hearing.otherCount > 0 && hearing.heardCount() < hearing.otherCount / 2
    if (ownKey(needs) === undefined || watch.view()?.paused === true) continue
    if (!alone || silentMs < ISOLATION_FENCE_MS || !Number.isFinite(silentMs)) continue
    if (findPostmaster(target.dataDirectory) === undefined) continue
    const reason = `cut off from the dcs and the other hosts for ${Math.round(silentMs)} ms`
    await fence(target, reason, log)
    await tellLoss(needs, target, reason)
  }
}
