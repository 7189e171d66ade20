// Proves what a hand-over makes of the answers of gateways and of Patroni.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import {
  describeHandOver,
  type HoldReport,
  refusalOf,
  sortReleases,
  throwUnlessHeld,
} from './hand-over.ts'

const HELD: HoldReport = { held: true, reason: '', heldMs: 200, clients: 3, releasedBy: 'asked' }

const fulfilled = (value: HoldReport) => ({ status: 'fulfilled', value }) as const
const lost = { status: 'rejected', reason: new HowdahError('task-lost', 'no answer') } as const

test('Patroni refuses, fails for certain, or does not know', () => {
  assert.equal(refusalOf({ status: 200, body: 'Successfully switched over to "b"' }), undefined)
  assert.equal(refusalOf({ status: 202, body: 'Switchover scheduled' }), undefined)
  assert.equal(refusalOf({ status: 503, body: 'Switchover status unknown' }), undefined)
  assert.match(refusalOf({ status: 503, body: 'Switchover failed' }) ?? '', /503: "Switchover fail/)
  const unwritten = 'failed to write switchover key into DCS'
  assert.match(refusalOf({ status: 503, body: unwritten }) ?? '', /failed to write/)
  assert.match(refusalOf({ status: 412, body: 'no good candidates' }) ?? '', /412: "no good/)
  assert.equal(refusalOf({ status: 412, body: 'leader name does not match' }), undefined)
})

test('a gateway that refuses a hold says why, even where another does not answer', () => {
  throwUnlessHeld([fulfilled(HELD), fulfilled(HELD)])
  const refused = fulfilled({ ...HELD, held: false, reason: 'a transaction did not end' })
  for (const results of [
    [lost, refused],
    [refused, lost],
  ]) {
    assert.throws(() => throwUnlessHeld(results), {
      code: 'wrong-state',
      message: /a transaction did not end: nothing was changed/,
    })
  }
  assert.throws(() => throwUnlessHeld([fulfilled(HELD), lost]), { code: 'task-lost' })
})

test('a gateway that does not answer a release is named, and the others report', () => {
  const { released, silent } = sortReleases(['g1', 'g2'], [lost, fulfilled(HELD)])
  assert.deepEqual(released, [{ name: 'g2', report: HELD }])
  const report = { to: 'b', held_clients: 3, stall_ms: 200, left_out: silent }
  const said = 'b leads; 3 clients waited, 200 ms at most'
  assert.equal(describeHandOver(report), `${said}; without g1: no answer`)
  assert.equal(describeHandOver({ ...report, left_out: [] }), said)
})
