// Proves the arithmetic that every figure rests on, with values that can be checked by hand.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { median, pairedRatio, percentile, ratioOfMedians } from './statistics.ts'

test('a median lies in the middle, or between the two in the middle', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('a percentile lies between its neighbours', () => {
  assert.equal(percentile([0, 10], 0.95), 9.5)
  assert.equal(percentile([5], 0.95), 5)
})

test('the ratio of pairs that all agree has no interval', () => {
  const ratio = pairedRatio([2, 4, 6], [1, 2, 3])
  assert.deepEqual(ratio, { median: 2, low: 2, high: 2, pairs: 3 })
})

test('the interval holds the median, and is the same each time', () => {
  const above = [10, 11, 9, 12, 10, 30]
  const below = [5, 5, 6, 5]
  const ratio = ratioOfMedians(above, below)
  assert.ok(ratio.low <= ratio.median && ratio.median <= ratio.high)
  assert.deepEqual(ratio, ratioOfMedians(above, below))
})
