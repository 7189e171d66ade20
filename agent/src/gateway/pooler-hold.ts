// Owns the hold of a gateway's clients: planned, during a switchover, or while nobody leads. Nobody
// is held for good: a hold ends when it is released, when its time is up, or when the agent stops,
// and each console that is opened gives a RESUME first. So a PAUSE of an agent before us, or one
// that came after its RESUME, ends as soon as the pooler can be reached.
import { describeError } from '@howdah/core/errors.ts'
import type { Logger } from 'pino'
import { makeWake, pause, type Wake } from '../wake.ts'
import type { PoolerConsole, WaitingClients } from './pgbouncer-admin.ts'

export interface HoldReport {
  held: boolean
  /** Why nothing is held. */
  reason: string
  heldMs: number
  /** Clients that waited when they were let go, and how long the one that waited longest did. */
  clients: number
  waitedMsMax: number
  releasedBy: 'new-leader' | 'timeout' | 'asked' | ''
  /** Which operation it was for, where it said so. */
  operationId: string
  /**
   * From the answer to the PAUSE, so from the end of the last transaction, nobody was let go before
   * another leader wrote.
   */
  unbroken: boolean
}

export interface Held {
  /** By an operation; otherwise because nobody leads. */
  planned: boolean
  /** Of a planned hold: it ends as soon as another one accepts writes. */
  fromLeader: string | undefined
  /** `performance.now`. */
  startedMs: number
  ended: Promise<void>
}

export interface PoolerHold {
  /** Reports that nothing is held where a transaction outlasts `pauseTimeoutMs`. */
  hold(
    fromLeader: string,
    pauseTimeoutMs: number,
    holdMsMax: number,
    operationId?: string,
  ): Promise<HoldReport>
  /**
   * Holds while nobody leads; does not wait for anything. With nothing to connect to, the pooler
   * would only collect refusals, turn new logins away for them, and be late at the new leader.
   */
  bridge(): void
  /**
   * Lets clients go as far as the pooler's logins, which wait for a leader that writes; the hold
   * goes on until then. `bridge` takes it back. Nothing where nobody is held.
   */
  admit(): Promise<void>
  /** The report of the hold that ends, or of the last one that was planned. */
  release(by: HoldReport['releasedBy']): Promise<HoldReport>
  /** Who is held now. */
  held(): Held | undefined
  lastReport(): HoldReport
  done: Promise<void>
}

interface Needs {
  open(): Promise<PoolerConsole>
  log: Logger
  signal: AbortSignal
}

interface Holding extends Held {
  operationId: string
  /**
   * True from the answer to its PAUSE on. False: they were let go as far as a login at an heir that
   * never wrote, and may have failed there.
   */
  unbroken?: boolean
  /** They are let go by now, or as far as `admit` says. */
  admitted?: Promise<Admission>
  /** Of the PAUSE that is wanted: an older one is not repeated. */
  pausing?: object
  /** It was answered: it cannot come after a RESUME. */
  paused?: boolean
  timer: NodeJS.Timeout
  end(): void
  releasing?: Promise<HoldReport>
}

type Plan = Pick<Holding, 'planned' | 'fromLeader' | 'operationId'>

/** Who waited at that moment (`performance.now`); undefined: the pooler did not say. */
interface Admission {
  waiting: WaitingClients | undefined
  atMs: number
}

/** Two: while one waits for the end of its PAUSE, only another is answered. */
interface Consoles {
  pausing: PoolerConsole
  resuming: PoolerConsole
}

export const NOTHING_HELD: HoldReport = {
  held: false,
  reason: 'nothing was held',
  heldMs: 0,
  clients: 0,
  waitedMsMax: 0,
  releasedBy: '',
  operationId: '',
  unbroken: false,
}

const UNPLANNED: Plan = { planned: false, fromLeader: undefined, operationId: '' }

const HELD: HoldReport = { ...NOTHING_HELD, held: true, reason: '' }

/** Longer than any failover; then clients get the pooler's own errors rather than silence. */
const BRIDGE_MS_MAX = 30_000
/** The consoles are looked after this often: PgBouncer may have been restarted. */
const LOOK_MS = 1000
/** Without consoles clients may wait for nobody. */
const RETRY_MS = 100

export function startPoolerHold({ open, log, signal }: Needs): PoolerHold {
  const consoles = keepConsoles(open)
  const wake = makeWake()
  let holding: Holding | undefined
  let lastReport = NOTHING_HELD

  /** At once, before anything is awaited: of two holds the second is refused. */
  function begin(hold: Plan, holdMsMax: number): Holding {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      log.warn({ holdMsMax, ...hold }, 'held long enough: clients are let go')
      void release('timeout')
    }, holdMsMax)
    holding = { ...hold, startedMs: performance.now(), ended, end, timer }
    return holding
  }

  function release(by: HoldReport['releasedBy']): Promise<HoldReport> {
    if (holding === undefined) return Promise.resolve(lastReport)
    holding.releasing ??= letGo(holding, by)
    return holding.releasing
  }

  async function letGo(ended: Holding, by: HoldReport['releasedBy']): Promise<HoldReport> {
    clearTimeout(ended.timer)
    ended.admitted ??= admit(ended)
    const report = reportOf(ended, await ended.admitted, by)
    holding = undefined
    if (ended.planned) lastReport = report
    log.info(report, 'clients released')
    ended.end()
    wake.wake()
    return report
  }

  const admit = (mine: Holding) => resume(consoles, mine, wake, log)

  const pooler: Omit<PoolerHold, 'done'> = {
    async hold(fromLeader, pauseTimeoutMs, holdMsMax, operationId = '') {
      if (holding?.planned === false) return { ...NOTHING_HELD, reason: 'nobody leads now' }
      if (holding !== undefined) return { ...NOTHING_HELD, reason: 'clients are held already' }
      const mine = begin({ planned: true, fromLeader, operationId }, holdMsMax)
      const reason = await pauseAll(consoles, mine, pauseTimeoutMs)
      if (reason === undefined) return HELD
      log.warn({ reason }, 'cannot hold the clients')
      if (holding === mine) await release('asked')
      return { ...NOTHING_HELD, reason }
    },
    bridge() {
      // Nobody would end it any more.
      if (signal.aborted || holding?.releasing !== undefined) return
      if (holding !== undefined && holding.admitted === undefined) return
      const mine = holding ?? begin(UNPLANNED, BRIDGE_MS_MAX)
      delete mine.admitted
      delete mine.paused
      mine.unbroken = false
      void pauseAll(consoles, mine, BRIDGE_MS_MAX)
    },
    async admit() {
      if (holding === undefined || holding.releasing !== undefined) return
      delete holding.pausing
      holding.admitted ??= admit(holding)
      await holding.admitted
    },
    release,
    held: () => holding,
    lastReport: () => lastReport,
  }
  return { ...pooler, done: lookAfter(pooler, consoles, wake, { log, signal }) }
}

/** Of one that ends now. */
function reportOf(
  { startedMs, operationId, unbroken }: Holding,
  { waiting, atMs }: Admission,
  releasedBy: HoldReport['releasedBy'],
): HoldReport {
  const nowMs = performance.now()
  return {
    ...HELD,
    heldMs: Math.round(nowMs - startedMs),
    clients: waiting?.count ?? 0,
    waitedMsMax: waiting === undefined ? 0 : Math.round(waiting.waitedMsMax + nowMs - atMs),
    releasedBy,
    operationId,
    unbroken: unbroken === true && releasedBy === 'new-leader',
  }
}

async function resume(
  consoles: ConsoleKeeper,
  mine: Holding,
  wake: Wake,
  log: Logger,
): Promise<Admission> {
  const resuming = consoles.opened()?.resuming
  const waiting = await resuming?.countWaiting().catch(() => undefined)
  const atMs = performance.now()
  const resumed = await resuming?.resume().then(
    () => true,
    (error: unknown) => {
      log.warn({ error: describeError(error) }, 'clients are not let go yet')
      return false
    },
  )
  // The one that paused may still wait for an answer, or its PAUSE come after this RESUME: both are
  // opened anew, which gives another.
  if (resumed !== true || mine.paused !== true) consoles.close()
  if (resumed !== true) wake.wake()
  return { waiting, atMs }
}

/** Why they are not held; undefined: all clients are. */
async function pauseAll(
  consoles: ConsoleKeeper,
  mine: Holding,
  timeoutMs: number,
): Promise<string | undefined> {
  const deadlineMs = performance.now() + timeoutMs
  const own = {}
  mine.pausing = own
  const isOver = () => mine.releasing !== undefined || mine.pausing !== own
  while (!isOver()) {
    try {
      const { pausing } = await consoles.ready()
      if (isOver()) break
      if (await pausing.pause(deadlineMs - performance.now())) {
        mine.paused = true
        mine.unbroken ??= true
        return undefined
      }
      return `a transaction did not end within ${timeoutMs} ms`
    } catch (error) {
      if (isOver()) break
      // PgBouncer was restarted since the last look, or is being.
      consoles.close()
      if (performance.now() > deadlineMs) return `no pooler: ${describeError(error)}`
    }
    await pause(RETRY_MS, new AbortController().signal)
  }
  return 'the clients were let go meanwhile'
}

async function lookAfter(
  { held, release }: Pick<PoolerHold, 'held' | 'release'>,
  consoles: ConsoleKeeper,
  wake: Wake,
  { log, signal }: Pick<Needs, 'log' | 'signal'>,
): Promise<void> {
  while (!signal.aborted) {
    const before = consoles.opened()
    try {
      const { pausing } = await consoles.ready()
      // One that is held has its console busy.
      if (before !== undefined && held() === undefined) await pausing.countWaiting()
    } catch (error) {
      log.debug({ error: describeError(error) }, 'the pooler has no console for us yet')
      if (held() === undefined) consoles.close()
    }
    await wake.wait(consoles.opened() === undefined ? RETRY_MS : LOOK_MS, signal)
  }
  const someone = held() !== undefined
  await release('asked')
  // Of a PAUSE that was not answered: nobody comes after us who knows of it.
  if (someone) await consoles.ready().catch(() => undefined)
  consoles.close()
}

type ConsoleKeeper = ReturnType<typeof keepConsoles>

/** Those that are open have given a RESUME after any PAUSE that nobody holds. */
function keepConsoles(open: () => Promise<PoolerConsole>) {
  let opened: Consoles | undefined
  let opening: Promise<Consoles> | undefined

  async function openBoth(): Promise<Consoles> {
    const resuming = await open()
    try {
      await resuming.resume()
      opened = { resuming, pausing: await open() }
      return opened
    } catch (error) {
      void resuming.close()
      throw error
    }
  }

  return {
    opened: () => opened,
    ready(): Promise<Consoles> {
      if (opened !== undefined) return Promise.resolve(opened)
      opening ??= openBoth().finally(() => {
        opening = undefined
      })
      return opening
    },
    close(): void {
      const closed = opened
      opened = undefined
      void closed?.pausing.close()
      void closed?.resuming.close()
    },
  }
}
