// Owns the canary of one gateway: every few seconds a new session goes the way that clients go, and
// commits a transaction at whoever leads. It only tells. It fences nobody, as a way that is broken
// is no leader that is; and it keeps out of what is planned: no canary while clients are held.
import { checkServerIdentity } from 'node:tls'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { GatewayCanary } from '@howdah/core/protocol.ts'
import type { ClusterView, ClusterWatch } from '../dcs/cluster-watch.ts'
import { endSession, openSession } from '../pg-session.ts'
import { pause } from '../wake.ts'
import { wantedOf } from './settle-gateway.ts'

const EVERY_MS = 5000
/** Also behind one that used up its time. */
const PAUSE_MS_MIN = 500
const LOGIN_TIMEOUT_MS = 3000
const ANSWER_TIMEOUT_MS = 2000
const ERROR_LENGTH_MAX = 300

/**
 * A write without a row: an id for the transaction is refused by every replica, and its commit is a
 * record in the WAL. A row would have to be locked, vacuumed and granted. And its commit would wait
 * for a replica, which is no matter of the gateway: each canary that gave up would leave a session
 * behind that still waits. What the leader's disk does is tried by the agent of its host.
 */
const WRITE = `select pg_catalog.set_config('synchronous_commit', 'local', true),
  pg_catalog.pg_current_xact_id()`

type Gateway = Pick<WatchedCluster['localGateways'][number], 'id' | 'address' | 'writePort'>
type State = Pick<GatewayCanary, 'silentMs' | 'error'>

export interface CanaryRounds {
  /** For one caller at a time. */
  round(): Promise<void>
  /** Undefined where no canary was due. */
  state(): State | undefined
}

interface Needs {
  /** Who is expected to write; undefined: nobody, so no canary is due. */
  due(): string | undefined
  /** Throws where it could not. */
  write(): Promise<void>
  nowMs(): number
}

/**
 * Silence counts for as long as the same one is expected to write: another has a time of its own.
 */
export function makeCanary({ due, write, nowMs }: Needs): CanaryRounds {
  let expected: string | undefined
  let sinceMs = 0
  let state: State | undefined
  return {
    state: () => state,
    async round() {
      const before = due()
      if (before !== expected) sinceMs = nowMs()
      expected = before
      if (before === undefined) {
        state = undefined
        return
      }
      const error = await write().then(() => '', describeError)
      if (error === '') {
        sinceMs = nowMs()
      } else if (due() !== before) {
        // A change came in its way, which is no fault.
        expected = undefined
        state = undefined
        return
      }
      state = {
        silentMs: Math.round(nowMs() - sinceMs),
        error: error.slice(0, ERROR_LENGTH_MAX).toWellFormed(),
      }
    },
  }
}

/**
 * Pure. A dcs that does not answer excuses nothing: whether the cluster still has a leader is known
 * to the control plane.
 */
export function dueOf(
  view: ClusterView | undefined,
  silentMs: number,
  held: boolean,
): string | undefined {
  if (held || view?.paused === true) return undefined
  const { kind } = wantedOf(view, silentMs)
  if (kind === 'nobody') return undefined
  return kind === 'leader' ? view?.leader?.createRevision : kind
}

export interface RunningCanary {
  state(): GatewayCanary | undefined
  done: Promise<void>
}

export function startGatewayCanary({
  cluster,
  gateway,
  watch,
  isHeld,
  wrote,
  signal,
}: {
  cluster: WatchedCluster
  gateway: Gateway
  watch: Pick<ClusterWatch, 'view' | 'silentMs'>
  isHeld(): boolean
  /**
   * Called after each canary that got through, and waited for: what needs a way in. No rejection.
   */
  wrote(): Promise<void>
  signal: AbortSignal
}): RunningCanary {
  const canary = makeCanary({
    due: () => dueOf(watch.view(), watch.silentMs(), isHeld()),
    write: () => writeThrough(cluster, gateway),
    nowMs: () => performance.now(),
  })
  const round = async () => {
    await canary.round()
    if (canary.state()?.error === '') await wrote()
  }
  const stopped = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  const done = (async () => {
    // Those of many clusters not all at once.
    await pause(Math.random() * EVERY_MS, signal)
    while (!signal.aborted) {
      const startedMs = performance.now()
      // One at a frozen pooler ends by itself; an agent that stops does not wait for it.
      await Promise.race([round(), stopped])
      const tookMs = performance.now() - startedMs
      await pause(Math.max(PAUSE_MS_MIN, EVERY_MS - tookMs), signal)
    }
  })()
  return {
    state() {
      const state = canary.state()
      return state === undefined ? undefined : { gatewayId: gateway.id, ...state }
    },
    done,
  }
}

/**
 * As the application with the URI does it: a new login, and the name in the certificate is looked
 * at. The probe's role is the one of the platform that the pooler looks up as it does clients'.
 */
export async function writeThrough(
  cluster: Pick<WatchedCluster, 'caPem' | 'probe'>,
  { address, writePort }: Pick<Gateway, 'address' | 'writePort'>,
): Promise<void> {
  const options = {
    host: address,
    port: writePort,
    database: 'postgres',
    user: cluster.probe.user,
    password: cluster.probe.password,
    query_timeout: ANSWER_TIMEOUT_MS,
    ssl: {
      ca: cluster.caPem,
      checkServerIdentity: (
        _name: string,
        certificate: Parameters<typeof checkServerIdentity>[1],
      ) => checkServerIdentity(address, certificate),
    },
  }
  const client = await openSession(options, LOGIN_TIMEOUT_MS).catch((cause: unknown) => {
    throw new Error('cannot log in', { cause })
  })
  try {
    await client.query(WRITE)
  } catch (cause) {
    throw new Error('logged in, but cannot write', { cause })
  } finally {
    await endSession(client)
  }
}
