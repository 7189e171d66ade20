// What a restore that failed says of its backup: whether it is broken, or only the way to it was.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isBroken, isWalBroken } from './recovery-verdict.ts'

test('a backup is damaged when an object of it is', () => {
  for (const errorCode of ['026', '028', '029', '055', '095']) {
    assert.equal(isBroken({ errorCode: `pgbackrest-${errorCode}`, error: '' }), true, errorCode)
  }
  const error = '… PANIC:  WAL contains references to invalid pages'
  assert.equal(isBroken({ errorCode: 'recovery-failed', error }), true)
})

test('a store, a host or a disk that is not there says nothing about a backup', () => {
  // Refused keys, no connection, a backup that is not listed, locked, not within its time.
  const codes = ['pgbackrest-039', 'pgbackrest-049', 'pgbackrest-075', 'pgbackrest-050']
  for (const errorCode of [...codes, 'host-silent', 'timeout', 'unreachable', 'withdrawn', '']) {
    assert.equal(isBroken({ errorCode, error: 'PANIC' }), false, errorCode)
  }
  for (const error of [
    'FATAL:  could not locate required checkpoint record',
    'FATAL:  WAL ends before end of online backup',
    'PANIC:  could not write to file "pg_wal/x": No space left on device',
    'FATAL:  could not create lock file "/x/.s.PGSQL.5.lock": File exists',
  ]) {
    assert.equal(isBroken({ errorCode: 'recovery-failed', error }), false, error)
  }
})

test('WAL is broken when its file is, and not when nobody could fetch it', () => {
  const unfetched = 'ERROR: [042]: unable to get 000000010000000000000004: repo1: x'
  assert.equal(isWalBroken(`${unfetched} [FormatError] no zst`), true)
  assert.equal(isWalBroken(`${unfetched} [HostConnectError] timeout`), false)
  // The whole place is away, and its info file with it.
  assert.equal(isWalBroken('ERROR: [103]: unable to find a valid repository: [FileMissing'), false)
  assert.equal(isWalBroken('LOG: invalid magic number 0000 in log segment 00'), true)
  assert.equal(isWalBroken(''), false)
})
