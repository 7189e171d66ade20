// Owns what the agent knows of its services: one loop per service reads s6's status file and asks
// the probe, quickly while the service is not what it should be or has just changed, rarely then.
import { describeError } from '@howdah/core/errors.ts'
import type { HostService, HostSpec } from '@howdah/core/host-spec.ts'
import type { ServiceStatus } from '@howdah/core/protocol.ts'
import { type ProcessState, readProcessState } from '../apply/s6.ts'
import { serviceDirectory } from '../apply/service-directory.ts'
import type { HostRoot } from '../host-root.ts'
import { pause } from '../wake.ts'
import { makeProber, type Verdict } from './probe.ts'

const SETTLED_POLL_MS = 1000
const UNSETTLED_POLL_MS = 200
/** A service that is broken for good must not be polled quickly for good. */
const UNSETTLED_MS_MAX = 60_000
/** One change brings the next: a replica that has started streams soon, and its leader sees it. */
const IN_MOTION_MS = 3000
const MESSAGE_LENGTH_MAX = 500

export interface Observer {
  /** Watches what this spec names, nothing else. Cheap when nothing changed. */
  watch(spec: HostSpec): void
  /** In the order of the spec; services that were not looked at yet are down. */
  statuses(): ServiceStatus[]
  stop(): Promise<void>
}

export interface ObserverNeeds {
  root: HostRoot
  /** Something worth telling changed; not called for a moved WAL position. */
  onChange: () => void
}

interface Watch {
  definition: string
  status: ServiceStatus
  abort: AbortController
  done: Promise<void>
}

export function makeObserver(needs: ObserverNeeds): Observer {
  let watches = new Map<string, Watch>()
  const ending = new Set<Promise<void>>()

  function end(watch: Watch): void {
    watch.abort.abort()
    ending.add(watch.done)
    void watch.done.finally(() => ending.delete(watch.done))
  }

  return {
    watch(spec) {
      const next = new Map<string, Watch>()
      for (const service of spec.services) {
        const definition = JSON.stringify(service.probe)
        const held = watches.get(service.name)
        const keep = held?.definition === definition ? held : undefined
        next.set(service.name, keep ?? startWatch(needs, service, definition))
      }
      for (const [name, watch] of watches) if (next.get(name) !== watch) end(watch)
      watches = next
      needs.onChange()
    },
    statuses: () => [...watches.values()].map((watch) => watch.status),
    async stop() {
      for (const watch of watches.values()) end(watch)
      watches = new Map()
      await Promise.all(ending)
    },
  }
}

function startWatch(needs: ObserverNeeds, service: HostService, definition: string): Watch {
  const abort = new AbortController()
  const status: ServiceStatus = {
    name: service.name,
    state: 'down',
    ready: false,
    pid: null,
    sinceEpoch: null,
    message: 'it was not started yet',
  }
  const watch: Watch = { definition, status, abort, done: Promise.resolve() }
  const publish = (next: ServiceStatus) => {
    const changed = comparable(next) !== comparable(watch.status)
    watch.status = next
    if (changed) needs.onChange()
    return changed
  }
  watch.done = watchService(needs.root, service, publish, abort.signal)
  return watch
}

/**
 * What makes two statuses differ for a reader: all but the WAL position, which moves all the time.
 * A new pid is a restart; s6 restarts at most once a second, so this cannot flood anybody.
 */
function comparable(status: ServiceStatus): string {
  const patroni = status.patroni && { ...status.patroni, walPosition: null }
  return JSON.stringify({ ...status, patroni })
}

async function watchService(
  root: HostRoot,
  service: HostService,
  /** Whether it differs from the one before. */
  publish: (status: ServiceStatus) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const prober = makeProber(service.probe)
  const directory = serviceDirectory(root, service.name)
  let verdict: Verdict | undefined
  let askedMs = 0
  let askedPid: number | null = null
  let unsettledMs = performance.now()
  let changedMs = Number.NEGATIVE_INFINITY
  while (!signal.aborted) {
    const process = await readState(directory)
    const nowMs = performance.now()
    const wasReady = verdict?.ready === true
    const inMotion = nowMs - changedMs < IN_MOTION_MS
    const intervalMs = inMotion ? prober.inMotionIntervalMs : prober.intervalMs
    const due = !wasReady || process.pid !== askedPid || nowMs - askedMs >= intervalMs
    if (!process.up) verdict = undefined
    else if (due) {
      askedMs = nowMs
      askedPid = process.pid
      verdict = await prober.ask()
    }
    const ready = verdict?.ready === true
    if (ready !== wasReady) unsettledMs = nowMs
    if (!signal.aborted && publish(toStatus(service.name, process, verdict))) changedMs = nowMs
    const fast = !ready && nowMs - unsettledMs < UNSETTLED_MS_MAX
    await pause(fast ? UNSETTLED_POLL_MS : Math.min(intervalMs, SETTLED_POLL_MS), signal)
  }
  prober.close()
}

type Observed = ProcessState & { problem?: string }

async function readState(directory: string): Promise<Observed> {
  try {
    return await readProcessState(directory)
  } catch (error) {
    const problem = describeError(error)
    return { up: false, pid: null, sinceEpoch: null, wantUp: false, ended: '', problem }
  }
}

function toStatus(name: string, process: Observed, verdict: Verdict | undefined): ServiceStatus {
  const down = process.problem ?? (process.ended === '' ? 'it was not started yet' : process.ended)
  const message = process.up ? `it is up and ${verdict?.said ?? ''}` : `it is down: ${down}`
  return {
    name,
    state: process.up ? 'up' : 'down',
    ready: verdict?.ready === true,
    pid: process.pid,
    sinceEpoch: process.up ? process.sinceEpoch : null,
    message: message.slice(0, MESSAGE_LENGTH_MAX).toWellFormed(),
    ...(verdict?.patroni === undefined ? {} : { patroni: verdict.patroni }),
  }
}
