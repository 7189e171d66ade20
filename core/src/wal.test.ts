// Proves wal without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  describeRange,
  formatLsn,
  formatSegmentName,
  leftAt,
  missingSegments,
  parseLsn,
  parseSegmentName,
  rangesOf,
  reasonOf,
  segmentOf,
  unarchivedFiles,
  withoutSegment,
} from './wal.ts'

const at = (timeline: number, ...numbers: number[]) =>
  numbers.map((number) => ({ timeline, number }))

test('LSNs and names of segments come back as they were', () => {
  for (const text of ['0/0', '0/16B3748', '16/B374D848', 'FFFFFFFF/FFFFFFFF']) {
    assert.equal(formatLsn(parseLsn(text) ?? 0n), text)
  }
  for (const text of ['', '0', '0/', '0/G', '123456789/0']) assert.equal(parseLsn(text), undefined)
  const name = '0000000300000012000000FF'
  const segment = parseSegmentName(name)
  assert.deepEqual(segment, { timeline: 3, number: 0x12ff })
  assert.equal(formatSegmentName(segment ?? { timeline: 0, number: 0 }), name)
  assert.equal(segmentOf(parseLsn('12/FF000028') ?? 0n), 0x12ff)
  for (const other of ['00000003.history', `${name}.partial`, name.toLowerCase()]) {
    assert.equal(parseSegmentName(other), undefined)
  }
})

test('segments become stretches without a hole, whatever their order', () => {
  assert.deepEqual(rangesOf([...at(1, 5, 3, 4, 4, 9), ...at(2, 9, 10)]), [
    { timeline: 1, first: 3, last: 5 },
    { timeline: 1, first: 9, last: 9 },
    { timeline: 2, first: 9, last: 10 },
  ])
})

test('what is missing is found along the history of the timeline', () => {
  const starts = [
    { timeline: 2, lsn: parseLsn('0/6000100') ?? 0n },
    { timeline: 3, lsn: parseLsn('0/8000000') ?? 0n },
  ]
  const path = { from: { timeline: 1, number: 3 }, starts, to: { timeline: 3, number: 9 } }
  const whole = rangesOf([...at(1, 3, 4, 5), ...at(2, 6, 7), ...at(3, 8, 9)])
  assert.deepEqual(missingSegments(whole, path), [])
  // The parent's last segment is the child's, too: having it on the parent only is not enough.
  const parental = rangesOf([...at(1, 3, 4, 5, 6), ...at(2, 7), ...at(3, 8, 9)])
  assert.deepEqual(missingSegments(parental, path), [{ timeline: 2, first: 6, last: 6 }])
  const holes = rangesOf([...at(1, 3, 5), ...at(2, 6, 7), ...at(3, 9)])
  assert.deepEqual(missingSegments(holes, path).map(describeRange), [
    '000000010000000000000004',
    '000000030000000000000008',
  ])
})

test('what a recovery leaves to be archived is its history, and its full segments', () => {
  const names = [
    '00000001.history',
    '00000002.history',
    '000000010000000000000004',
    '000000020000000000000005',
    '000000020000000000000006',
    '000000020000000000000007',
    '000000020000000000000006.partial',
    'archive_status',
  ]
  const lsn = parseLsn('0/6000150') ?? 0n
  assert.deepEqual(unarchivedFiles(names, 2, lsn), ['00000002.history', '000000020000000000000005'])
  assert.deepEqual(unarchivedFiles(names, 3, lsn), [])
})

test('a history says why its timeline was begun', () => {
  assert.equal(reasonOf(''), '')
  const first = '1\t0/5000000\tno recovery target specified\n'
  assert.equal(reasonOf(first), 'no recovery target specified')
  const second = `${first}\n2\t0/7000110\tbefore 2026-01-01 00:00:00+00\n`
  assert.equal(reasonOf(second), 'before 2026-01-01 00:00:00+00')
})

test('replay that ended early is left on the timeline whose segment was read there', () => {
  assert.equal(leftAt(''), undefined)
  const history = '1\t0/5000110\tfailover\n2\t0/7000110\tfailover\n'
  // As PostgreSQL writes it: of the newest timeline, wherever replay ended.
  const endedAt = (lsn: string) => leftAt(`${history}\n3\t${lsn}\tno recovery target specified\n`)
  assert.deepEqual(endedAt('0/4FFFFF8'), { timeline: 1, lsn: '0/4FFFFF8' })
  assert.deepEqual(endedAt('0/6000000'), { timeline: 2, lsn: '0/6000000' })
  assert.deepEqual(endedAt('0/9000000'), { timeline: 3, lsn: '0/9000000' })
  // A segment in which a timeline began is read as that one's.
  assert.equal(endedAt('0/5000028')?.timeline, 2)
  assert.equal(leftAt('1\t0/5000110\tfailover\n')?.timeline, 1)
})

test('a segment that cannot be read leaves a hole in its range alone', () => {
  const range = { timeline: 1, first: 3, last: 5 }
  const other = { timeline: 2, first: 3, last: 5 }
  const without = (number: number) => withoutSegment([range, other], { timeline: 1, number })
  assert.deepEqual(without(4), [{ ...range, last: 3 }, { ...range, first: 5 }, other])
  assert.deepEqual(without(3), [{ ...range, first: 4 }, other])
  assert.deepEqual(without(6), [range, other])
  const alone = { timeline: 1, first: 4, last: 4 }
  assert.deepEqual(withoutSegment([alone], { timeline: 1, number: 4 }), [])
})
