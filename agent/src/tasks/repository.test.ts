// Proves what counts as WAL that the repository holds, without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatSegmentName } from '@howdah/core/wal.ts'
import { summarize } from './repository.ts'

const fileOf = (number: number) => {
  const name = formatSegmentName({ timeline: 1, number })
  return `${name.slice(0, 16)}/${name}-${'a'.repeat(40)}.zst`
}

test('an object that is empty or cut is no segment, though its name is one', () => {
  const { ranges, segments, bytes } = summarize({
    [fileOf(3)]: { size: 2000 },
    [fileOf(4)]: { size: 0 },
    [fileOf(5)]: { size: 100 },
    [fileOf(6)]: { size: 2000 },
    // A program that does not say how large it is.
    [fileOf(7)]: {},
    '00000002.history': { size: 40 },
  })
  assert.deepEqual(ranges, [
    { timeline: 1, first: 3, last: 3 },
    { timeline: 1, first: 6, last: 7 },
  ])
  assert.deepEqual([segments, bytes], [3, 4140])
})
