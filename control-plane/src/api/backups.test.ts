// What is refused before a backup begins, as it could never end.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refuseTooSlow } from './backups.ts'

test('a backup that could not end within a day is refused with the rate that would do', () => {
  const refused = { code: 'bad-request', message: /100 GB would take 28 hours.*1\.2 MB\/s/ }
  assert.throws(() => refuseTooSlow(100e9, 1e6), refused)
  refuseTooSlow(80e9, 1e6)
  refuseTooSlow(100e12)
})
