// Proves how much WAL a plan says is replayed.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spanOf } from './restore-plan.ts'

const BACKUP = { lsn_start: '0/10000028', lsn_stop: '0/10000138' }
const TIME = { kind: 'time', value: '2027-01-31 14:02:59+00' } as const

test('WAL ends where the archive does, as far as that is known', () => {
  assert.deepEqual(spanOf(BACKUP, TIME, '0/13000000'), { to: '0/13000000', segments: 4 })
  assert.deepEqual(spanOf(BACKUP, TIME, null), { to: null, segments: 0 })
})

test('what was said of the archive before the backup is no end before its own', () => {
  assert.deepEqual(spanOf(BACKUP, TIME, '0/F000000'), { to: '0/10000138', segments: 1 })
})

test('a position is where it ends, and so is the end of the backup', () => {
  const lsn = { kind: 'lsn', value: '0/12000001' } as const
  assert.deepEqual(spanOf(BACKUP, lsn, '0/13000000'), { to: '0/12000001', segments: 3 })
  const end = { kind: 'immediate', value: '' } as const
  assert.deepEqual(spanOf(BACKUP, end, '0/13000000'), { to: '0/10000138', segments: 1 })
})
