// Proves what others rely on in an id: its alphabet, its order in time, and that nothing else
// passes for one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isId, newId } from './ids.ts'

test('an id is recognized as its own kind and as no other', () => {
  const id = newId('cluster')
  assert.match(id, /^clu_[0-9a-hjkmnp-tv-z]{26}$/)
  assert.equal(isId('cluster', id), true)
  assert.equal(isId('host', id), false)
})

test('ids sort by the time at which they were made', () => {
  const times = [0, 1, 1_700_000_000_000, 1_700_000_000_001, 2 ** 48 - 1]
  const ids = times.map((nowMs) => newId('operation', nowMs))
  assert.deepEqual([...ids].sort(), ids)
})

test('two ids of one millisecond differ', () => {
  const ids = new Set(Array.from({ length: 1000 }, () => newId('task', 1)))
  assert.equal(ids.size, 1000)
})

test('text around an id makes it no id', () => {
  const id = newId('host')
  const others = [` ${id}`, `${id}\n`, `${id}/..`, id.toUpperCase(), id.slice(0, -1), `${id}0`, '']
  for (const text of others) assert.equal(isId('host', text), false, JSON.stringify(text))
})
