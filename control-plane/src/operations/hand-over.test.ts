// Proves what a hand-over makes of the answers of gateways and of Patroni.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import {
  describeHandOver,
  type HoldReport,
  refusalOf,
  reportHandOver,
  sortReleases,
  throwUnlessHeld,
} from './hand-over.ts'

const HELD: HoldReport = {
  held: true,
  reason: '',
  heldMs: 200,
  clients: 3,
  waitedMsMax: 180,
  releasedBy: 'new-leader',
  unbroken: true,
}

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
  throwUnlessHeld([fulfilled(HELD), fulfilled(HELD)], 'a stays the leader')
  const refused = fulfilled({ ...HELD, held: false, reason: 'a transaction did not end' })
  for (const results of [
    [lost, refused],
    [refused, lost],
  ]) {
    assert.throws(() => throwUnlessHeld(results, 'a stays the leader'), {
      code: 'wrong-state',
      message: 'a transaction did not end: a stays the leader',
    })
  }
  assert.throws(() => throwUnlessHeld([fulfilled(HELD), lost], ''), { code: 'task-lost' })
})

const HANDED: Parameters<typeof reportHandOver>[0] = { from: 'a', to: 'b', readersLeft: 0 }

/** What is said when these gateways answered so. */
function said(results: readonly PromiseSettledResult<HoldReport>[], handed = HANDED): string {
  const names = results.map((_, index) => `g${index + 1}`)
  const report = reportHandOver(handed, sortReleases(names, results))
  const text = describeHandOver(report)
  assert.equal(report.none_failed, text.endsWith(', and none failed'))
  return text
}

test('where every gateway held its clients until the new leader wrote, none failed', () => {
  const longer = fulfilled({ ...HELD, clients: 4, waitedMsMax: 310 })
  assert.equal(
    said([fulfilled(HELD), longer]),
    'b leads; 7 transactions were held, 310 ms at most, and none failed',
  )
})

test('whose transactions may have failed is named, and why', () => {
  const before = 'b leads; 3 transactions were held, 180 ms at most; some may have failed: '
  const broken = { ...HELD, unbroken: false }
  assert.equal(
    said([fulfilled({ ...broken, releasedBy: 'timeout', heldMs: 15_000 })]),
    `${before}g1 let its clients go after 15000 ms, before b wrote`,
  )
  assert.equal(
    said([fulfilled({ ...broken, releasedBy: 'asked' })]),
    `${before}g1 let its clients go without having seen b write`,
  )
  const { unbroken: _, ...older } = HELD
  assert.match(said([fulfilled(older)]), /g1 does not say that it held all of them until b wrote$/)
  const nothing = { ...HELD, held: false, reason: 'nothing was held' }
  assert.equal(said([fulfilled(HELD), lost]), `${before}without g2: no answer`)
  assert.equal(said([fulfilled(HELD), fulfilled(nothing)]), `${before}without g2: nothing was held`)
})

test('readers that were left on the former leader may have failed', () => {
  const left = (readersLeft: number | null) => said([fulfilled(HELD)], { ...HANDED, readersLeft })
  assert.match(left(2), /some may have failed: 2 readers were left on a$/)
  assert.match(left(null), /some may have failed: the control plane was away meanwhile$/)
})

test('a restart in place that outlasts the hold names the gateway, and nobody as leader', () => {
  const alone = { from: 'a', to: 'a', readersLeft: null }
  const late = { ...HELD, releasedBy: 'timeout', heldMs: 15_000, unbroken: false }
  assert.equal(
    said([fulfilled(late)], alone),
    'a has restarted; 3 transactions were held, 180 ms at most; some may have failed: ' +
      'g1 let its clients go after 15000 ms, before a wrote; readers had nobody else to go to',
  )
})
