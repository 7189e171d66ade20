// Goal: a disk that fills is told once, and again when it has space, never each minute.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { diskNews, isDiskLow } from './disk-space.ts'

const GIB = 1024 ** 3
const disk = (diskBytes: number, diskFreeBytes: number) => ({ diskBytes, diskFreeBytes })

test('a disk is low below a tenth, unless that is more than 20 GB', () => {
  assert.equal(isDiskLow(disk(100 * GIB, 9 * GIB)), true)
  assert.equal(isDiskLow(disk(100 * GIB, 10 * GIB)), false)
  assert.equal(isDiskLow(disk(1000 * GIB, 19 * GIB)), true)
  assert.equal(isDiskLow(disk(1000 * GIB, 21 * GIB)), false)
})

test('it is told when it becomes low, and when it is well above that again', () => {
  const kinds = (frees: readonly number[]) =>
    frees.map((free, index) => {
      const before = index === 0 ? undefined : disk(100 * GIB, (frees[index - 1] ?? 0) * GIB)
      return diskNews(before, disk(100 * GIB, free * GIB))?.kind ?? ''
    })
  assert.deepEqual(kinds([50, 9, 8, 11, 13, 50]), [
    '',
    'host.disk-low',
    '',
    '',
    'host.disk-well',
    '',
  ])
  assert.deepEqual(kinds([5, 4]), ['host.disk-low', ''])
})

test('the message says how much is left, also of a disk of which nothing is known', () => {
  const { message } = diskNews(undefined, disk(100 * GIB, 5 * GIB)) ?? {}
  assert.match(message ?? '', /^5 % of its disk is free \(5120 MB\)/)
  assert.equal(diskNews(undefined, disk(0, 0)), undefined)
})
