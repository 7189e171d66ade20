// Proves which gaps between writes count, without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { measureGaps } from './ledger-gaps.ts'

test('every gap that clients notice counts, not only the longest', () => {
  const moments = [0, 5, 10, 510, 515, 615, 1615, 1620, 1920]
  assert.deepEqual(measureGaps(moments), { longestMs: 1000, sumMs: 500 + 1000 + 300 })
})

test('a watch without any write is one gap', () => {
  assert.deepEqual(measureGaps([50, 10_050]), { longestMs: 10_000, sumMs: 10_000 })
})
