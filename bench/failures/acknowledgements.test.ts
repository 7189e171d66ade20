// Checks what is read from acknowledgements: the gap, and that two leaders at once would be seen.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findLongestGap, findOverlapMs } from './acknowledgements.ts'

const at = (ackedMs: number, server: string | null) => {
  return { number: ackedMs, sentMs: ackedMs - 1, ackedMs, server }
}

test('the longest gap is found in any order, with its beginning', () => {
  assert.deepEqual(findLongestGap([1250, 5, 10, 1200]), { gapMs: 1190, startMs: 10 })
  assert.deepEqual(findLongestGap([7]), { gapMs: 0, startMs: 0 })
})

test('leaders that follow each other do not overlap', () => {
  assert.equal(findOverlapMs([at(1, 'a'), at(9, 'a'), at(12, 'b')], 'a'), 0)
})

test('an old leader that acknowledges after the new one began is seen', () => {
  assert.equal(findOverlapMs([at(1, 'a'), at(12, 'b'), at(40, 'a'), at(50, 'b')], 'a'), 28)
})

test('without a second leader or a known server nothing is claimed', () => {
  assert.equal(findOverlapMs([at(1, 'a')], 'a'), undefined)
  assert.equal(findOverlapMs([at(1, 'a'), at(2, null)], 'a'), undefined)
})
