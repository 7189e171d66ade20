// Proves how a change of leader is told, and above all that no receipt claims more than is known.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { summarizeFailovers } from './failovers.ts'
import type { GuardEvent } from './protocol.ts'

let count = 0

/** `seconds` after the first one. */
function event(kind: GuardEvent['kind'], seconds: number, more: Partial<GuardEvent>): GuardEvent {
  count += 1
  return {
    id: `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`,
    clusterId: 'clu_1',
    at: new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString(),
    kind,
    instance: 'a-2',
    message: '',
    ...more,
  }
}

const LOST = event('leader-lost', 0, { instance: 'a-1', message: 'its postmaster died' })
const CHANGED = event('leader-changed', 2, {
  from: 'a-1',
  gateway: 'gw-1',
  gapMs: 700,
  timeline: 2,
  lsn: '1000',
  durability: 'sync',
})
const END = event('wal-end-read', 3, { instance: 'a-1', timeline: 1, lsn: '1400' })

test('the reports of two gateways and of the hosts are one failover', () => {
  const second = event('leader-changed', 3, { from: 'a-1', gateway: 'gw-2', gapMs: 900 })
  const [failover, ...others] = summarizeFailovers([END, CHANGED, second, LOST], 'sync')
  assert.deepEqual(others, [])
  assert.deepEqual(failover, {
    at: CHANGED.at,
    from: 'a-1',
    to: 'a-2',
    planned: false,
    reason: 'its postmaster died',
    gap_ms: 900,
    gateways: ['gw-1', 'gw-2'],
    receipt: {
      from_lsn: '1000',
      to_lsn: '1400',
      bytes: 400,
      acknowledged_bytes: 0,
      statement: 'no acknowledged commit: the new leader was the synchronous replica',
    },
  })
})

test('an instance that fenced itself is told so, and not that its postmaster died of it', () => {
  const cutOff = event('leader-lost', -1, { instance: 'a-1', message: 'cut off from the dcs' })
  const [failover] = summarizeFailovers([CHANGED, LOST, cutOff], 'sync')
  assert.equal(failover?.reason, 'cut off from the dcs')
})

test('of a change that no gateway saw nothing is made up', () => {
  const { gapMs: _, ...found } = CHANGED
  const [failover] = summarizeFailovers([found, END], 'sync')
  assert.equal(failover?.gap_ms, null)
  assert.equal(failover?.reason, 'not known: no gateway saw it happen')
  assert.equal(failover?.receipt.bytes, 400)
  const [seenByOther] = summarizeFailovers([found, { ...CHANGED, gateway: 'gw-2' }], 'sync')
  assert.equal(seenByOther?.gap_ms, 700)
})

test('changes that point elsewhere or lie far apart are told apart, the newest first', () => {
  const back = event('leader-changed', 60, { instance: 'a-1', from: 'a-2' })
  const later = event('leader-changed', 600, { from: 'a-1' })
  const told = summarizeFailovers([back, CHANGED, later], 'sync').map(({ at }) => at)
  assert.deepEqual(told, [later.at, back.at, CHANGED.at])
})

test('what was asked for has its receipt computed like any other', () => {
  const planned = { ...CHANGED, planned: true, durability: 'async' as const }
  const [unread] = summarizeFailovers([planned], 'async')
  assert.equal(unread?.reason, 'asked for')
  assert.match(unread?.receipt.statement ?? '', /^not known yet/)
  const [read] = summarizeFailovers([planned, { ...END, lsn: '1000' }], 'async')
  assert.equal(read?.receipt.statement, 'nothing: the new leader had all WAL')
  const [synchronous] = summarizeFailovers([{ ...CHANGED, planned: true }], 'sync')
  assert.equal(synchronous?.receipt.acknowledged_bytes, 0)
})

test('a leader that died while its clients were held was not handed over', () => {
  const planned = { ...CHANGED, planned: true, durability: 'async' as const }
  const [failover] = summarizeFailovers([LOST, planned, END], 'async')
  assert.equal(failover?.planned, false)
  assert.equal(failover?.reason, 'its postmaster died')
  assert.equal(failover?.receipt.statement, 'at most 400 bytes of WAL')
})

test('a leader that dies soon after a switchover to and fro is told by itself', () => {
  const there = { ...CHANGED, planned: true, durability: 'async' as const }
  const back = {
    ...event('leader-changed', 30, { instance: 'a-1', from: 'a-2', timeline: 3, lsn: '2000' }),
    gateway: 'gw-1',
    planned: true,
  }
  const lost = event('leader-lost', 90, { instance: 'a-1', message: 'its postmaster died' })
  const died = {
    ...event('leader-changed', 92, { from: 'a-1', timeline: 4, lsn: '3000' }),
    gateway: 'gw-1',
  }
  const end = event('wal-end-read', 93, { instance: 'a-1', timeline: 3, lsn: '3500' })
  const told = summarizeFailovers([there, back, lost, died, end, { ...END, lsn: '1000' }], 'async')
  assert.deepEqual(
    told.map(({ planned, receipt }) => [planned, receipt.acknowledged_bytes]),
    [
      [false, 500],
      [true, null],
      [true, 0],
    ],
  )
})

test('a gateway that hears late of a change tells of the same one, by its timeline', () => {
  const late = { ...event('leader-changed', 900, {}), from: 'a-1', gateway: 'gw-2', timeline: 2 }
  const [failover, ...others] = summarizeFailovers([CHANGED, late], 'sync')
  assert.deepEqual([failover?.gateways, others], [['gw-1', 'gw-2'], []])
})

test('a disk is read when its host is back, however late that is', () => {
  const then = { ...CHANGED, durability: 'async' as const }
  const late = event('wal-end-read', 86_400, { instance: 'a-1', timeline: 1, lsn: '1400' })
  assert.equal(summarizeFailovers([then, late], 'async')[0]?.receipt.acknowledged_bytes, 400)
})

test('the end of another timeline says nothing, and of two ends the farther one counts', () => {
  const then = { ...CHANGED, durability: 'async' as const }
  const bytes = (...ends: Partial<GuardEvent>[]) =>
    summarizeFailovers([then, ...ends.map((end) => ({ ...END, ...end }))], 'async')[0]?.receipt
      .acknowledged_bytes
  assert.equal(bytes({ timeline: 2 }), null)
  assert.equal(bytes({ lsn: '900' }, { lsn: '1400' }, { lsn: '1100' }), 400)
  const { timeline: _, ...unknown } = then
  assert.equal(summarizeFailovers([unknown, END], 'async')[0]?.receipt.acknowledged_bytes, null)
})

test('the durability of that moment counts, whatever it is now', () => {
  const then = { ...CHANGED, durability: 'async' as const }
  assert.equal(summarizeFailovers([then, END], 'sync')[0]?.receipt.acknowledged_bytes, 400)
  assert.equal(summarizeFailovers([CHANGED, END], 'async')[0]?.receipt.acknowledged_bytes, 0)
})

test('an event that does not say it is told with the durability of now', () => {
  const { durability: _, ...old } = CHANGED
  assert.equal(summarizeFailovers([old, END], 'async')[0]?.receipt.acknowledged_bytes, 400)
})

test('a failover that accepted a loss does not claim that there was none', () => {
  const accepted = event('loss-accepted', 1, { message: 'asked for' })
  const [known] = summarizeFailovers([accepted, CHANGED, END], 'sync')
  assert.equal(known?.reason, 'asked for')
  assert.equal(known?.receipt.acknowledged_bytes, 400)
  assert.equal(known?.receipt.statement, 'at most 400 bytes of WAL')
  const [unknown] = summarizeFailovers([accepted, CHANGED], 'sync')
  assert.equal(unknown?.receipt.acknowledged_bytes, null)
  assert.match(unknown?.receipt.statement ?? '', /^not known yet/)
})

test('a loss that was accepted for another instance, or long before, says nothing of this', () => {
  const others = [event('loss-accepted', 1, { instance: 'a-3' }), event('loss-accepted', -600, {})]
  const [failover] = summarizeFailovers([...others, CHANGED, END], 'sync')
  assert.equal(failover?.receipt.acknowledged_bytes, 0)
})

test('in async a leader that had more WAL is an upper bound, and one that had less is none', () => {
  const then = { ...CHANGED, durability: 'async' as const }
  const receipt = (lsn: string) => summarizeFailovers([then, { ...END, lsn }], 'async')[0]?.receipt
  assert.equal(receipt('1400')?.statement, 'at most 400 bytes of WAL')
  assert.equal(receipt('900')?.statement, 'nothing: the new leader had all WAL')
})
