// When a new replica comes from a backup, and what people are told.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseReplicaSource } from './replica-source.ts'

const big = { label: 'x', sizeBytes: 120_000_000_000, restoreMs: 100_000 }

test('a big database comes from its backup when that was seen to be faster', () => {
  const chosen = chooseReplicaSource({ wish: undefined, backup: big })
  assert.equal(chosen.from, 'backup')
  assert.match(chosen.why, /about 100 s, a copy about 1000 s/)
  const slow = { ...big, restoreMs: 2_000_000 }
  assert.equal(chooseReplicaSource({ wish: undefined, backup: slow }).from, 'leader')
})

test('what nobody has measured, what is small and what has no backup is copied', () => {
  for (const backup of [undefined, { ...big, restoreMs: null }, { ...big, sizeBytes: 1000 }]) {
    assert.equal(chooseReplicaSource({ wish: undefined, backup }).from, 'leader')
  }
})

test('a wish is followed where it can be', () => {
  assert.equal(chooseReplicaSource({ wish: 'leader', backup: big }).from, 'leader')
  const small = { ...big, sizeBytes: 1000, restoreMs: null }
  assert.equal(chooseReplicaSource({ wish: 'backup', backup: small }).from, 'backup')
  assert.equal(chooseReplicaSource({ wish: 'backup', backup: undefined }).from, 'leader')
})
