// Owns what one gateway shall be like, and makes it so: each round compares HAProxy, the readers
// and the hold of the clients with what a fresh view of the dcs wants, and does what is missing. So
// what one round could not do the next one does. Without a fresh view nothing is enforced:
// HAProxy's own checks know better then.
import type { Logger } from 'pino'
import type { ClusterView, ClusterWatch } from '../dcs/cluster-watch.ts'
import { cutCommands, gateCommand, readerCommands, switchCommands } from './haproxy-runtime.ts'
import type { PoolerHold } from './pooler-hold.ts'

/** A view of the dcs that is older says nothing: the leader may be another one by now. */
const FRESH_VIEW_MS = 2000

export type Wanted = { kind: 'unknown' } | { kind: 'nobody' } | { kind: 'leader'; name: string }

export interface LeaderChange {
  leader: string
  before: string
  /** Undefined where it happened before anybody looked: nobody knows. */
  gapMs: number | undefined
  planned: boolean
}

interface Needs {
  servers: readonly string[]
  watch: Pick<ClusterWatch, 'view' | 'silentMs'>
  hold: Pick<PoolerHold, 'bridge' | 'admit' | 'held' | 'release'>
  drained(): ReadonlySet<string>
  haproxy(commands: readonly string[]): Promise<string>
  /**
   * Waits for it; false when it is not wanted any more. `onCaughtUp` is called, and waited for, at
   * most once: when it does not write yet and has replayed all that it has.
   */
  becomesWritable(
    leader: string,
    stillWanted: () => boolean,
    onCaughtUp: () => Promise<void>,
  ): Promise<boolean>
  /** True only when the instance says that it is a replica. */
  isReplica(name: string): Promise<boolean>
  /** Whom it pointed at before anybody looked; undefined for a new gateway. */
  lastLeader: string | undefined
  /** The first leader ever is no change. */
  onFirst(leader: string): void
  onChange(change: LeaderChange): void
  log: Logger
}

/** Pure. */
export function wantedOf(view: ClusterView | undefined, silentMs: number): Wanted {
  if (view === undefined) return { kind: 'unknown' }
  const name = view.leader?.name
  // Of a paused cluster without its dcs Patroni says that nobody leads, and the leader goes on.
  const stays = view.paused && name !== undefined
  if (silentMs >= FRESH_VIEW_MS && !stays) return { kind: 'unknown' }
  return name === undefined ? { kind: 'nobody' } : { kind: 'leader', name }
}

/**
 * `settle`: whether the gateway is as it shall be, and somebody leads. For one caller at a time,
 * again at each change of the view and now and then.
 */
export function makeSettler(needs: Needs): { settle(): Promise<boolean> } {
  const { servers, watch, hold, haproxy } = needs
  const pointer = makePointer(needs)
  const { point, leave, isInForce, pointsTo } = pointer
  const changes = makeChanges(needs)
  let readersLeft: string | undefined

  const wantedNow = () => wantedOf(watch.view(), watch.silentMs())
  const isWanted = (name: string) => {
    const wanted = wantedNow()
    return wanted.kind === 'leader' && wanted.name === name
  }
  const becomesLeader = makeHeir(needs, pointer, wantedNow)

  async function leaveNow(gone: string): Promise<void> {
    await leave(gone)
    changes.lost()
  }

  async function follow(leader: string): Promise<boolean> {
    if (pointsTo() !== leader) {
      if (!(await becomesLeader(leader))) return false
      await point(leader)
    } else if (!(await isInForce(leader))) {
      // Its checks say otherwise: one that cannot reach the dcs steps down long before its lease
      // has run out. Until another leads, or it does again, clients wait.
      if (await needs.isReplica(leader)) {
        hold.bridge()
        await leaveNow(leader)
        return false
      }
      // It was restarted or reloaded: it knows nothing of readers either.
      readersLeft = undefined
      await point(leader)
    }
    const held = hold.held()
    if (held !== undefined && held.fromLeader !== leader) await hold.release('new-leader')
    changes.leads(leader, held?.planned === true ? held.startedMs : undefined)
    if (readersLeft !== leader) {
      await haproxy(readerCommands(servers, leader, needs.drained()))
      readersLeft = leader
    }
    return isWanted(leader)
  }

  return {
    async settle() {
      const wanted = wantedNow()
      const present = pointsTo()
      if (wanted.kind === 'unknown') {
        // HAProxy's checks find the next leader; but they take seconds to leave one.
        if (present !== undefined && (await needs.isReplica(present))) await leaveNow(present)
        return false
      }
      const leader = wanted.kind === 'leader' ? wanted.name : undefined
      if (present !== undefined && present !== leader) {
        // Who comes waits in the pooler rather than meet a dying instance, or one that is behind.
        hold.bridge()
        await leaveNow(present)
      }
      if (leader !== undefined) return follow(leader)
      if (!(await isInForce(undefined))) await point(undefined)
      return false
    },
  }
}

/** Waits until the instance that shall lead does; false when it is not to any more. */
function makeHeir(
  needs: Pick<Needs, 'hold' | 'becomesWritable'>,
  { announce, leave }: ReturnType<typeof makePointer>,
  wantedNow: () => Wanted,
) {
  const { hold } = needs

  /**
   * The clients of a planned hold may go as far as a login at the heir, before it writes: a login
   * takes longer than the rest of a promotion. Not where nobody planned it: who was being logged in
   * when a leader died has failed, and until a login succeeds the pooler refuses whoever it does
   * not hold. And not at one that has something to replay: a query that waits could be in its way.
   */
  async function prepare(heir: string): Promise<boolean> {
    const held = hold.held()
    if (held?.planned !== true || held.fromLeader === heir) return false
    if (!(await announce(heir))) return false
    await hold.admit()
    return true
  }

  return async (heir: string): Promise<boolean> => {
    let announced = false
    const isRight = () => {
      const wanted = wantedNow()
      // A dcs that is silent for a while does not say that there is another one.
      if (wanted.kind === 'unknown') return announced
      return wanted.kind === 'leader' && wanted.name === heir
    }
    const onCaughtUp = async () => {
      announced = await prepare(heir)
    }
    if (await needs.becomesWritable(heir, isRight, onCaughtUp)) return true
    // Its logins wait for what does not come about any more. Still right: this agent ends.
    if (announced && !isRight()) {
      hold.bridge()
      await leave(heir)
    }
    return false
  }
}

/** Tells each change of the leader once, with how long clients had none. */
function makeChanges({ lastLeader, onFirst, onChange }: Needs) {
  let last = lastLeader
  let lostMs: number | undefined
  return {
    lost() {
      lostMs = performance.now()
    },
    /** `plannedMs`: since when clients are held for a planned change. */
    leads(leader: string, plannedMs: number | undefined): void {
      if (leader === last) return
      const before = last
      last = leader
      if (before === undefined) {
        onFirst(leader)
        return
      }
      const sinceMs = plannedMs ?? lostMs
      const gapMs = sinceMs === undefined ? undefined : Math.round(performance.now() - sinceMs)
      onChange({ leader, before, gapMs, planned: plannedMs !== undefined })
    },
  }
}

/** What HAProxy is told of writers, and whether it still knows. */
function makePointer({ servers, haproxy, log }: Pick<Needs, 'servers' | 'haproxy' | 'log'>) {
  /** As it was told last; undefined: nowhere, or it was told nothing yet. */
  let pointsTo: string | undefined
  const moveGate = (gate: 'open' | 'closed') =>
    haproxy([gateCommand(gate)]).then(
      () => true,
      // A HAProxy that was configured by a version before this has none.
      () => false,
    )
  return {
    pointsTo: () => pointsTo,
    /** Only the pooler is let through to it. False where it would not be the only one. */
    async announce(heir: string): Promise<boolean> {
      if (!(await moveGate('closed'))) return false
      await haproxy(switchCommands(servers, heir))
      log.info({ heir }, 'announced')
      return true
    },
    async point(leader: string | undefined): Promise<void> {
      await haproxy(switchCommands(servers, leader))
      await moveGate('open')
      if (leader !== pointsTo) log.info({ from: pointsTo, to: leader }, 'switched')
      pointsTo = leader
    },
    /** In one go: nobody stays on an instance that is left. */
    async leave(gone: string): Promise<void> {
      await haproxy([...switchCommands(servers, undefined), ...cutCommands(gone)])
      await moveGate('open')
      log.info({ from: gone }, 'switched')
      pointsTo = undefined
    },
    /** It has the leader up and everybody else down in the backend for writes. */
    async isInForce(leader: string | undefined): Promise<boolean> {
      const state = await haproxy(['show servers state write'])
      const up = state
        .split('\n')
        .map((line) => line.split(' '))
        .filter((fields) => fields[1] === 'write' && servers.includes(fields[3] ?? ''))
        .filter((fields) => fields[5] === '2')
        .map((fields) => fields[3])
      return leader === undefined ? up.length === 0 : up.length === 1 && up[0] === leader
    },
  }
}
