// Proves what is made of history files.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatLsn } from '@howdah/core/wal.ts'
import { parseHistory } from './archive-look.ts'
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

test('a backup that was taken after its timeline was left is on no history', () => {
  const status = { starts: [{ timeline: 3, lsn: '0/7000110' }] }
  const taken = (timeline: number, lsn_stop: string) => ({ info: { timeline, lsn_stop } })
  assert.equal(isOnHistory(taken(1, '0/7000000'), status), true)
  assert.equal(isOnHistory(taken(1, '0/8000000'), status), false)
  assert.equal(isOnHistory(taken(3, '0/9000000'), status), true)
  assert.equal(isOnHistory(taken(1, '0/8000000'), undefined), true)
})
