// Proves what is made of history files.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatLsn } from '@howdah/core/wal.ts'
import { newestArchived, parseHistory, readableOf } from './archive-look.ts'
import { isOnHistory } from './archive-status.ts'

test('a history file says where each timeline left its parent', () => {
  const text = '1\t0/5000000\tno recovery target specified\n\n2\t0/7000110\tbefore 2026-01-01\n'
  const starts = parseHistory(text, 3)
  assert.deepEqual(
    starts.map(({ timeline, lsn }) => [timeline, formatLsn(lsn)]),
    [
      [2, '0/5000000'],
      [3, '0/7000110'],
    ],
  )
  assert.deepEqual(parseHistory('', 1), [])
})

test('a new leader that has archived nothing yet answers for what the one before it wrote', () => {
  const starts = parseHistory('1\t0/5000110\tno recovery target specified\n', 2)
  const old = { timeline: 1, first: 1, last: 3 }
  const silent = { timeline: 2, last: null }
  assert.deepEqual(newestArchived(silent, starts, [old]), { timeline: 2, number: 4 })
  // What it says of a timeline that it followed is no word about its own.
  const stale = { timeline: 2, last: '000000010000000000000009' }
  assert.deepEqual(newestArchived(stale, starts, [old]), { timeline: 2, number: 4 })
  const own = { timeline: 2, first: 5, last: 7 }
  assert.deepEqual(newestArchived(silent, starts, [old, own]), { timeline: 2, number: 7 })
  assert.equal(newestArchived({ timeline: 1, last: null }, [], []), undefined)
})

test('a segment that is still on its way beside a later one is no gap', () => {
  const ranges = [
    { timeline: 1, first: 1, last: 3 },
    { timeline: 1, first: 5, last: 5 },
  ]
  const leader = { timeline: 1, last: '000000010000000000000003' }
  assert.deepEqual(newestArchived(leader, [], ranges), { timeline: 1, number: 3 })
})

test('a segment that a drill could not replay is a gap, whatever the listing says', () => {
  const range = { timeline: 1, first: 1, last: 5 }
  assert.deepEqual(readableOf([range], ['000000010000000000000003', '']), [
    { ...range, last: 2 },
    { ...range, first: 4 },
  ])
  assert.deepEqual(readableOf([range], []), [range])
})

test('a backup that was taken after its timeline was left is on no history', () => {
  const status = { starts: [{ timeline: 3, lsn: '0/7000110' }] }
  const taken = (timeline: number, lsn_stop: string) => ({ info: { timeline, lsn_stop } })
  assert.equal(isOnHistory(taken(1, '0/7000000'), status), true)
  assert.equal(isOnHistory(taken(1, '0/8000000'), status), false)
  assert.equal(isOnHistory(taken(3, '0/9000000'), status), true)
  assert.equal(isOnHistory(taken(1, '0/8000000'), undefined), true)
  // Of a leader that nobody has looked at yet.
  assert.equal(isOnHistory(taken(4, '0/9000000'), status), true)
  assert.equal(isOnHistory(taken(2, '0/7000000'), status), false)
})

test('a restore to before an earlier one takes backups between the two from the history', () => {
  const history = '1\t0/7000000\tfirst restore\n2\t0/4000000\tsecond restore\n'
  const starts = parseHistory(history, 3).map((start) => ({ ...start, lsn: formatLsn(start.lsn) }))
  const isThere = (lsn_stop: string) => isOnHistory({ info: { timeline: 1, lsn_stop } }, { starts })
  assert.equal(isThere('0/3000000'), true)
  assert.equal(isThere('0/5000000'), false)
})
