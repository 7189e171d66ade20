// Goal: a disk that fills is told once, and again when it has space, never each minute.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { diskNews, isDiskLow, isNearLow } from './disk-space.ts'

const GIB = 1024 ** 3
const disk = (diskBytes: number, diskFreeBytes: number) => ({ diskBytes, diskFreeBytes })

test('a disk is low below a tenth, unless that is more than 20 GB', () => {
  assert.equal(isDiskLow(disk(100 * GIB, 9 * GIB)), true)
  assert.equal(isDiskLow(disk(100 * GIB, 10 * GIB)), false)
  assert.equal(isDiskLow(disk(1000 * GIB, 19 * GIB)), true)
  assert.equal(isDiskLow(disk(1000 * GIB, 21 * GIB)), false)
})

test('it is told when it becomes low, and when it is well above that again', () => {
  let toldLow = false
  const kinds = [50, 9, 8, 11, 9, 11, 13, 11, 13, 50, 5].map((free) => {
    const news = diskNews(toldLow, disk(100 * GIB, free * GIB))
    if (news !== undefined) toldLow = news.kind === 'host.disk-low'
    return news?.kind.slice('host.disk-'.length) ?? ''
  })
  assert.deepEqual(kinds, ['', 'low', '', '', '', '', 'well', '', '', '', 'low'])
})

test('nothing is looked up for a disk that is far from its limit', () => {
  assert.equal(isNearLow(disk(100 * GIB, 13 * GIB)), false)
  assert.equal(isNearLow(disk(100 * GIB, 11 * GIB)), true)
})

test('the message says how much is left, also of a disk of which nothing is known', () => {
  const { message } = diskNews(false, disk(100 * GIB, 5 * GIB)) ?? {}
  assert.match(message ?? '', /^5 % of its disk is free \(5120 MB\)/)
  assert.equal(diskNews(false, disk(0, 0)), undefined)
})
