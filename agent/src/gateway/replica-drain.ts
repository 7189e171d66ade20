// Owns the orderly leave of a replica from the read endpoint: new readers go elsewhere, the pooler
// replaces its sessions as their transactions end, and only then may the instance be stopped.
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { pause } from '../wake.ts'
import { commandHaproxy } from './haproxy-runtime.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'

const LOOK_MS = 50
const BACKEND = 'replicas'
/** Where readers can be: on a replica, or on the leader when there was none. */
const READ_BACKENDS = new Set([BACKEND, 'leader'])

export interface DrainRequest {
  instance: string
  drain: boolean
  waitMs: number
  drainMsMax: number
}

export interface ReplicaDrains {
  /** Sessions that are left on the instance, after waiting for them at most `waitMs`. */
  drain(request: DrainRequest): Promise<{ sessions: number }>
  /** Instances that are drained now. */
  drained(): ReadonlySet<string>
  endAll(): Promise<void>
}

export function makeReplicaDrains(
  socket: string,
  cluster: WatchedCluster,
  readPooler: PoolerAddress,
): ReplicaDrains {
  const timers = new Map<string, NodeJS.Timeout>()

  async function putBack(instance: string): Promise<void> {
    clearTimeout(timers.get(instance))
    timers.delete(instance)
    await commandHaproxy(socket, [`set server ${BACKEND}/${instance} state ready`])
  }

  return {
    async drain({ instance, drain, waitMs, drainMsMax }) {
      const known = cluster.instances.some((candidate) => candidate.name === instance)
      if (!known) throw new Error(`there is no instance ${instance} behind this gateway`)
      if (!drain) {
        await putBack(instance)
        return { sessions: 0 }
      }
      await commandHaproxy(socket, [`set server ${BACKEND}/${instance} state drain`])
      clearTimeout(timers.get(instance))
      timers.set(
        instance,
        setTimeout(() => void putBack(instance).catch(() => undefined), drainMsMax),
      )
      const adminConsole = await openConsole(cluster, readPooler)
      await adminConsole.reconnect().finally(() => adminConsole.close())
      const deadlineMs = performance.now() + waitMs
      let sessions = await countSessions(socket, instance)
      while (sessions > 0 && performance.now() < deadlineMs) {
        await pause(LOOK_MS, new AbortController().signal)
        sessions = await countSessions(socket, instance)
      }
      return { sessions }
    },
    drained: () => new Set(timers.keys()),
    async endAll() {
      for (const { name } of cluster.instances) await putBack(name)
    },
  }
}

/** `scur` of HAProxy's statistics: the sessions that are open now. */
async function countSessions(socket: string, instance: string): Promise<number> {
  const [header = '', ...rows] = (await commandHaproxy(socket, ['show stat'])).split('\n')
  const names = header.replace(/^# /, '').split(',')
  const column = names.indexOf('scur')
  return rows
    .map((line) => line.split(','))
    .filter((fields) => READ_BACKENDS.has(fields[0] ?? '') && fields[1] === instance)
    .reduce((sum, fields) => sum + Number(fields[column] ?? 0), 0)
}
