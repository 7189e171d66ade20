// Where a drill's copy goes: never where there is no room, and never two behind one socket.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseCopyHost, freeCopyPort } from './drill-copy.ts'

const GB = 1_000_000_000
const host = (name: string, change: object = {}) => ({
  id: name,
  name,
  freeBytes: 100 * GB,
  isOwn: false,
  copies: 0,
  ...change,
})

test('a copy goes to a host without an instance of the cluster, and with the fewest copies', () => {
  const own = host('own', { isOwn: true, freeBytes: 900 * GB })
  const busy = host('busy', { copies: 1, freeBytes: 900 * GB })
  assert.equal(chooseCopyHost([own, busy, host('free')], GB).name, 'free')
  assert.equal(chooseCopyHost([own], GB).name, 'own')
})

test('a copy that would fill the disk of a host goes to another, or nowhere', () => {
  const small = host('small', { freeBytes: 11 * GB })
  const large = host('large', { isOwn: true })
  assert.equal(chooseCopyHost([small, large], 10 * GB).name, 'large')
  const refused = { code: 'no-capacity', message: /needs 12.0 GB, .* has is 11.0 GB/ }
  assert.throws(() => chooseCopyHost([small], 10 * GB), refused)
  assert.throws(() => chooseCopyHost([], GB), { code: 'no-capacity' })
})

test('two copies on a host have sockets of their own', () => {
  assert.equal(freeCopyPort(new Set([1, 2, 5432])), 3)
})
