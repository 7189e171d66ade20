// Proves cron without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTimeZone, nextRun, parseCron } from './cron.ts'

const next = (text: string, zone: string, after: string) => {
  const at = nextRun(text, zone, Date.parse(after))
  return at === undefined ? undefined : new Date(at).toISOString()
}

test('the next run is after the moment, in the zone of the schedule', () => {
  const noon = '2026-11-21T12:00:00Z'
  assert.equal(next('30 2 * * *', 'UTC', noon), '2026-11-22T02:30:00.000Z')
  assert.equal(next('0 12 * * *', 'UTC', noon), '2026-11-22T12:00:00.000Z')
  assert.equal(next('30 2 * * *', 'Asia/Ho_Chi_Minh', noon), '2026-11-21T19:30:00.000Z')
  assert.equal(next('*/15 * * * *', 'UTC', noon), '2026-11-21T12:15:00.000Z')
  assert.equal(next('0 0 1,15 * *', 'UTC', noon), '2026-12-01T00:00:00.000Z')
  assert.equal(next('0 0 * * 7', 'UTC', noon), '2026-11-22T00:00:00.000Z')
  assert.equal(next('5 4 29 2 *', 'UTC', noon), '2028-02-29T04:05:00.000Z')
})

test('a day of the month or a day of the week: either counts when both are given', () => {
  assert.equal(next('0 0 24 * 1', 'UTC', '2026-11-21T00:00:00Z'), '2026-11-23T00:00:00.000Z')
})

test('a time that a clock skips runs after the jump, one that comes twice runs once', () => {
  const berlin = 'Europe/Berlin'
  assert.equal(next('30 2 * * *', berlin, '2026-03-28T12:00:00Z'), '2026-03-29T01:30:00.000Z')
  const first = next('30 2 * * *', berlin, '2026-10-24T12:00:00Z') as string
  assert.equal(first, '2026-10-25T00:30:00.000Z')
  assert.equal(next('30 2 * * *', berlin, first), '2026-10-26T01:30:00.000Z')
})

test('what never comes has no next run', () => {
  assert.equal(next('0 0 30 2 *', 'UTC', '2026-11-21T00:00:00Z'), undefined)
})

test('what is no schedule is refused, and the field is named', () => {
  const bad = { '* * * *': /4 fields/, '60 * * * *': /minute/, '0 24 * * *': /hour/ }
  for (const [text, says] of Object.entries(bad)) assert.throws(() => parseCron(text), says)
  for (const text of ['a * * * *', '5-1 * * * *', '*/0 * * * *', '0 0 0 * *', '0 0 * * 8', '']) {
    assert.throws(() => parseCron(text), { code: 'bad-request' })
  }
  for (const zone of ['Mars/Base', 'UTC; x', '', '../etc']) assert.equal(isTimeZone(zone), false)
})
