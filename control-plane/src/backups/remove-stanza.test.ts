// How often a store is asked that does not let go of what has expired.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backoffMs } from './remove-stanza.ts'

test('a store that stays away is asked less and less, but once an hour at least', () => {
  assert.deepEqual([1, 2, 3, 60].map(backoffMs), [10_000, 20_000, 40_000, 3_600_000])
})
