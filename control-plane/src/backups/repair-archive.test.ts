// Which segments a repair of an archive looks for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatSegmentName } from '@howdah/core/wal.ts'
import { closedOf, isAbandoned, segmentsOf } from './repair-archive.ts'

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

test('what is still a gap after its repair is not told as repaired', () => {
  const repaired = [255, 256].map((number) => ({
    segment: formatSegmentName({ timeline: 1, number }),
    instance: 'demo-1',
  }))
  const gaps = [{ timeline: 1, first: 256, last: 256 }]
  assert.deepEqual(closedOf(repaired, { gaps, error: '' }), repaired.slice(0, 1))
  assert.deepEqual(closedOf(repaired, { gaps, error: 'no answer' }), repaired)
})

test('a segment is abandoned from the one on in which its timeline was left', () => {
  const starts = [
    { timeline: 2, lsn: '0/7123456' },
    { timeline: 5, lsn: '0/9000028' },
  ]
  const abandoned = [
    '000000010000000000000007',
    '000000010000000000000008',
    '000000020000000000000009',
    // Of a timeline that is none of the present history's.
    '000000040000000000000009',
  ]
  for (const name of abandoned) assert.equal(isAbandoned(name, starts), true, name)
  const needed = [
    '000000010000000000000006',
    '000000020000000000000007',
    '000000020000000000000008',
    '000000050000000000000009',
    '00000006000000000000000A',
    '00000002.history',
    '000000010000000000000007.partial',
  ]
  for (const name of needed) assert.equal(isAbandoned(name, starts), false, name)
  assert.equal(isAbandoned(null, starts), false)
  assert.equal(isAbandoned('000000010000000000000007', []), false)
})
