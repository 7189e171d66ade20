// Proves who is held and for how long, with a pooler that is a few variables.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { pino } from 'pino'
import { until } from '../testing/until.ts'
import { pause } from '../wake.ts'
import type { PoolerConsole } from './pgbouncer-admin.ts'
import { type PoolerHold, startPoolerHold } from './pooler-hold.ts'

interface FakePooler {
  paused: boolean
  /** Transactions that run: a PAUSE waits for their end. */
  busy: boolean
  /** Attempts that are refused before one succeeds. */
  refuseOpen: number
  refuseResume: number
  said: string[]
  openConsoles: number
}

function consoleOf(pooler: FakePooler): PoolerConsole {
  pooler.openConsoles += 1
  let asked = false
  const answer = () => {
    // As PgBouncer: one that waits for the end of its PAUSE says nothing else.
    if (asked) return new Promise<never>(() => undefined)
    return Promise.resolve()
  }
  return {
    async pause(timeoutMs) {
      pooler.said.push('pause')
      pooler.paused = true
      if (!pooler.busy) return true
      asked = true
      await pause(Math.min(timeoutMs, 20), new AbortController().signal)
      return false
    },
    async resume() {
      await answer()
      if (pooler.refuseResume > 0) {
        pooler.refuseResume -= 1
        throw new Error('no RESUME now')
      }
      pooler.said.push('resume')
      pooler.paused = false
    },
    reconnect: answer,
    async countWaiting() {
      await answer()
      return { count: 3, waitedMsMax: 5 }
    },
    async pools() {
      await answer()
      return []
    },
    async close() {
      pooler.openConsoles -= 1
    },
  }
}

async function start(t: TestContext, given: Partial<FakePooler> = {}) {
  const pooler: FakePooler = {
    paused: false,
    busy: false,
    refuseOpen: 0,
    refuseResume: 0,
    said: [],
    openConsoles: 0,
    ...given,
  }
  const abort = new AbortController()
  const hold: PoolerHold = startPoolerHold({
    async open() {
      await setImmediate()
      if (pooler.refuseOpen > 0) {
        pooler.refuseOpen -= 1
        throw new Error('refused')
      }
      return consoleOf(pooler)
    },
    log: pino({ level: 'silent' }),
    signal: abort.signal,
  })
  const stop = async () => {
    abort.abort()
    await hold.done
  }
  t.after(stop)
  return { pooler, hold, stop }
}

const letGo = (pooler: FakePooler) =>
  until(
    'nobody to be paused',
    () => pooler,
    ({ paused }) => !paused,
    4000,
  )

const paused = (pooler: FakePooler) =>
  until(
    'a PAUSE',
    () => pooler,
    ({ paused }) => paused,
  )

test('what an agent before us held is let go, however often the pooler refuses', async (t) => {
  const { pooler } = await start(t, { paused: true, refuseOpen: 3, refuseResume: 2 })
  await letGo(pooler)
})

test('a hold that could not be ended at once is ended a moment later', async (t) => {
  const { pooler, hold } = await start(t)
  assert.equal((await hold.hold('a', 1000, 15_000)).held, true)
  assert.equal(pooler.paused, true)
  pooler.refuseResume = 3
  const report = await hold.release('asked')
  assert.deepEqual([report.held, report.clients, report.releasedBy], [true, 3, 'asked'])
  await letGo(pooler)
})

test('a transaction that does not end refuses the hold, and lets go at once', async (t) => {
  const { pooler, hold } = await start(t, { busy: true })
  const report = await hold.hold('a', 20, 15_000)
  assert.equal(report.held, false)
  assert.match(report.reason, /a transaction did not end within 20 ms/)
  assert.equal(pooler.paused, false)
  pooler.busy = false
  assert.equal((await hold.hold('a', 1000, 15_000)).held, true)
})

test('of two holds at once the second is refused, before the first has a console', async (t) => {
  const { hold } = await start(t)
  const [first, second] = await Promise.all([hold.hold('a', 1000, 9e3), hold.hold('a', 1000, 9e3)])
  assert.equal(first.held, true)
  assert.match(second.reason, /held already/)
})

test('a hold that is released before it has begun is none', async (t) => {
  const { pooler, hold } = await start(t)
  const holding = hold.hold('a', 1000, 15_000)
  await hold.release('asked')
  assert.match((await holding).reason, /let go meanwhile/)
  assert.equal(pooler.paused, false)
  assert.equal(pooler.said.includes('pause'), false)
})

test('a hold ends when its time is up, and when the agent stops', async (t) => {
  const { pooler, hold, stop } = await start(t)
  await hold.hold('a', 1000, 30)
  await letGo(pooler)
  assert.equal((await hold.release('asked')).releasedBy, 'timeout')
  await hold.hold('a', 1000, 15_000)
  await stop()
  assert.equal(pooler.paused, false)
  assert.equal(pooler.openConsoles, 0)
})

test('a planned hold is told as it ended, also when an unplanned one followed', async (t) => {
  const { pooler, hold } = await start(t)
  await hold.hold('a', 1000, 30, 'op_1')
  await letGo(pooler)
  hold.bridge()
  await hold.release('new-leader')
  const { releasedBy, operationId, unbroken } = hold.lastReport()
  assert.deepEqual([releasedBy, operationId, unbroken], ['timeout', 'op_1', false])
})

test('a hold is unbroken when only the new leader ended it', async (t) => {
  const { hold } = await start(t)
  for (const [by, unbroken] of [
    ['new-leader', true],
    ['asked', false],
  ] as const) {
    await hold.hold('a', 1000, 15_000)
    await hold.admit()
    assert.equal((await hold.release(by)).unbroken, unbroken)
  }
})

test('while nobody leads clients wait, also for transactions, until one does', async (t) => {
  const { pooler, hold } = await start(t, { busy: true })
  hold.bridge()
  await paused(pooler)
  assert.equal(hold.held()?.planned, false)
  assert.match((await hold.hold('a', 1000, 15_000)).reason, /nobody leads now/)
  await hold.release('new-leader')
  assert.equal(pooler.paused, false)
  // What was not answered may still come: another RESUME follows.
  const resumes = pooler.said.filter((said) => said === 'resume').length
  await until(
    'another RESUME',
    () => pooler.said.filter((said) => said === 'resume').length,
    (count) => count > resumes,
  )
})

test('who is admitted may connect, is still held, and held again if need be', async (t) => {
  const { pooler, hold } = await start(t)
  await hold.hold('a', 1000, 15_000)
  await hold.admit()
  assert.deepEqual([pooler.paused, hold.held()?.fromLeader], [false, 'a'])
  hold.bridge()
  await paused(pooler)
  assert.equal(hold.held()?.planned, true)
  await hold.admit()
  const report = await hold.release('new-leader')
  assert.deepEqual([report.held, report.clients, report.releasedBy], [true, 3, 'new-leader'])
  assert.equal(report.unbroken, false)
  assert.deepEqual([pooler.paused, hold.held()], [false, undefined])
})

test('a PAUSE that was not answered is not repeated for those that are admitted', async (t) => {
  const { pooler, hold } = await start(t, { busy: true })
  hold.bridge()
  await paused(pooler)
  await hold.admit()
  assert.equal(pooler.paused, false)
  const pauses = () => pooler.said.filter((said) => said === 'pause').length
  const before = pauses()
  // A RESUME of consoles that are opened anew; what was to be retried would have been by then.
  const resumes = pooler.said.filter((said) => said === 'resume').length
  await until(
    'another RESUME',
    () => pooler.said.filter((said) => said === 'resume').length,
    (count) => count > resumes,
  )
  assert.equal(pauses(), before)
})
