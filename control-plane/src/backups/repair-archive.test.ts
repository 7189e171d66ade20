// Which segments a repair of an archive looks for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { segmentsOf } from './repair-archive.ts'

test('each missing segment is looked for by its name, unless there are too many', () => {
  const gaps = [
    { timeline: 1, first: 255, last: 256 },
    { timeline: 2, first: 300, last: 300 },
  ]
  assert.deepEqual(segmentsOf(gaps), [
    '0000000100000000000000FF',
    '000000010000000100000000',
    '00000002000000010000002C',
  ])
  assert.deepEqual(segmentsOf([{ timeline: 1, first: 1, last: 65 }]), [])
})
