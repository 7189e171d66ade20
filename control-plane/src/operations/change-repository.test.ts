// Proves, without a repository, when a place counts as empty.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isEmptyListing } from './change-repository.ts'

test('only a place in which nothing is counts as empty', () => {
  for (const text of ['{}', '{".":{"type":"path"}}']) assert.equal(isEmptyListing(text), true)
  const used = '{".":{"type":"path"},"archive":{"type":"path"},"backup":{"type":"path"}}'
  assert.equal(isEmptyListing(used), false)
})
