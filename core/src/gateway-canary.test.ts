// Goal: a gateway that carries no writes is told once, and again when it does, never each round.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Canary, gatewayNews, isLate, mayBeNews, sayLate } from './gateway-canary.ts'

const WORKS: Canary = { silentMs: 0, error: '' }
const silent = (seconds: number): Canary => ({
  silentMs: seconds * 1000,
  error: 'cannot log in: timeout expired',
})

test('one canary that is late is not told, two are', () => {
  const late = [undefined, WORKS, silent(0), silent(10), silent(12), silent(3600)].map(isLate)
  assert.deepEqual(late, [false, false, false, false, true, true])
})

test('it is said for how long, and why in the words of whoever refused', () => {
  const said = 'has not carried a write for 13 s: cannot log in: timeout expired'
  assert.equal(sayLate({ ...silent(12), silentMs: 12_600 }), said)
})

/** The news of each report, as the control plane finds them. */
function tell(reports: readonly (Canary | undefined)[]): string[] {
  let before: Canary | undefined
  let toldBroken = false
  return reports.map((now) => {
    const isAsked = now !== undefined && mayBeNews(before, now)
    const news = isAsked ? gatewayNews(toldBroken, 'demo-gw-1', now) : undefined
    before = now
    if (news !== undefined) toldBroken = news.kind === 'gateway.broken'
    return news?.kind ?? ''
  })
}

test('it is told when it is broken for longer than any change explains, and when it works', () => {
  const reports = [WORKS, silent(5), silent(16), silent(22), silent(27), WORKS, WORKS]
  assert.deepEqual(tell(reports), ['', '', '', 'gateway.broken', '', 'gateway.works', ''])
  assert.deepEqual(tell([silent(5), silent(16), WORKS]), ['', '', ''])
})

test('a canary that nobody expects for a while says nothing of the gateway', () => {
  const reports = [silent(22), undefined, silent(3), undefined, WORKS, undefined, WORKS]
  const told = ['gateway.broken', '', '', '', 'gateway.works', '', '']
  assert.deepEqual(tell(reports), told)
})

test('nothing is looked up for a gateway that works as before', () => {
  assert.equal(mayBeNews(WORKS, WORKS), false)
  assert.equal(mayBeNews(silent(16), silent(19)), false)
  assert.equal(mayBeNews(undefined, WORKS), true)
  assert.equal(mayBeNews(silent(3), WORKS), true)
})
