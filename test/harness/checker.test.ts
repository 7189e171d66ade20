// The promise: each kind of loss and disorder is found in a history that has it, and in no other. A
// checker that finds nothing is only worth something if this holds.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkHistory, type Verdict } from './checker.ts'
import type { Holding } from './checker-anomaly.ts'
import type { Detail, Entry } from './history.ts'

function entry(at: number, detail: Detail, more: Partial<Entry> = {}): Entry {
  return {
    client: 'test',
    path: 'gateway',
    startedMs: at,
    endedMs: at + 1,
    outcome: 'ok',
    detail,
    ...more,
  }
}

const RICH = Array.from({ length: 10 }, (_, index): [number, number] => [index + 1, 1000])

function holding(more: Partial<Holding> = {}): Holding {
  const empty = { instance: 'one', values: [], registers: new Map(), lists: new Map() }
  return { ...empty, balances: new Map(RICH), ...more }
}

const transfer = (value: number, amount: number): Detail => ({
  kind: 'transfer',
  value,
  from: 1,
  to: 2,
  amount,
})
const insert = (value: number): Detail => ({ kind: 'insert', value })
const change = (from: number, to: number): Detail => ({ kind: 'compare-and-set', key: 1, from, to })
const by = (instance: string, timeline: number) => ({ by: { instance, timeline } })

const CASES: { name: string; entries: Entry[]; holdings: Holding[]; says: RegExp[] | 'nothing' }[] =
  [
    {
      name: 'unknown writes may be there or not',
      entries: [
        entry(1, insert(1)),
        entry(2, insert(2), { outcome: 'unknown' }),
        entry(3, insert(3), { outcome: 'unknown' }),
        entry(4, insert(4), { outcome: 'fail' }),
      ],
      holdings: [holding({ values: [1, 2] })],
      says: 'nothing',
    },
    {
      name: 'an acknowledged row is missing on one instance',
      entries: [entry(1, insert(1))],
      holdings: [holding({ values: [1] }), holding({ instance: 'two' })],
      says: [/acknowledged rows missing on two: 1/, /two holds other data than one/],
    },
    {
      name: 'a refused row is there',
      entries: [entry(1, insert(1), { outcome: 'fail' })],
      holdings: [holding({ values: [1] })],
      says: [/refused rows found on one: 1/],
    },
    {
      name: 'leaders one after the other',
      entries: [
        entry(1, insert(1), by('a', 1)),
        entry(5, insert(2), by('b', 2)),
        entry(9, insert(3), by('a', 3)),
      ],
      holdings: [holding({ values: [1, 2, 3] })],
      says: 'nothing',
    },
    {
      name: 'a former leader acknowledges',
      entries: [
        entry(1, insert(1), by('a', 1)),
        entry(5, insert(2), by('b', 2)),
        entry(9, insert(3), by('a', 1)),
      ],
      holdings: [holding({ values: [1, 2, 3] })],
      says: [/a former leader acknowledged 4.0 ms after the next one/],
    },
    {
      name: 'a former leader acknowledges for long, whatever had begun before',
      entries: [
        entry(1, insert(1), by('a', 1)),
        entry(2, insert(4), { ...by('a', 1), endedMs: 20 }),
        entry(5, insert(2), by('b', 2)),
        entry(9, insert(3), by('a', 1)),
      ],
      holdings: [holding({ values: [1, 2, 3, 4] })],
      says: [/a former leader acknowledged 4.0 ms after the next one/],
    },
    {
      name: 'a former leader’s word on what had begun before comes late',
      entries: [
        entry(1, insert(1), by('a', 1)),
        entry(2, insert(3), { ...by('a', 1), endedMs: 9 }),
        entry(5, insert(2), by('b', 2)),
      ],
      holdings: [holding({ values: [1, 2, 3] })],
      says: 'nothing',
    },
    {
      name: 'a former leader’s late word on what is not there',
      entries: [
        entry(1, insert(1), by('a', 1)),
        entry(2, insert(3), { ...by('a', 1), endedMs: 9 }),
        entry(5, insert(2), by('b', 2)),
      ],
      holdings: [holding({ values: [1, 2] })],
      says: [/acknowledged rows missing on one: 1, e.g. 3/],
    },
    {
      name: 'two leaders on one timeline',
      entries: [entry(1, insert(1), by('a', 1)), entry(2, insert(2), by('b', 1))],
      holdings: [holding({ values: [1, 2] })],
      says: [/two leaders on timeline 1: a, b/],
    },
    {
      name: 'a register is one chain, whose unknown changes may have happened',
      entries: [
        entry(1, change(0, 1)),
        entry(3, change(1, 2), { outcome: 'unknown' }),
        entry(5, { kind: 'read', key: 1, value: 2 }),
        entry(7, change(2, 3)),
      ],
      holdings: [holding({ registers: new Map([[1, 3]]) })],
      says: 'nothing',
    },
    {
      name: 'a register value replaced twice',
      entries: [entry(1, change(0, 1)), entry(3, change(1, 2)), entry(5, change(1, 3))],
      holdings: [holding({ registers: new Map([[1, 3]]) })],
      says: [/replaced twice: 1/, /change of a register is gone: 1/],
    },
    {
      name: 'a register read long after',
      entries: [entry(1, change(0, 1)), entry(5, { kind: 'read', key: 1, value: 0 })],
      holdings: [holding({ registers: new Map([[1, 1]]) })],
      says: [/was read long after/],
    },
    {
      name: 'a value that nobody wrote',
      entries: [entry(1, { kind: 'read', key: 1, value: 7 })],
      holdings: [holding({ registers: new Map([[1, 0]]) })],
      says: [/seen that nobody wrote: 1/],
    },
    {
      name: 'money was made',
      entries: [entry(1, { kind: 'sum', sum: 9999 })],
      holdings: [holding({ balances: new Map([[1, 10_001]]) })],
      says: [
        /sum other than 10000 was read: 1/,
        /the money is not 10000/,
        /accounts on one whose balance is not that of its transfers: 1, e.g. 1/,
      ],
    },
    {
      name: 'a transfer that happened, one that did not, and one that nobody knows of',
      entries: [
        entry(1, transfer(1, 10)),
        entry(2, transfer(2, 20), { outcome: 'fail' }),
        entry(3, transfer(3, 40), { outcome: 'unknown' }),
      ],
      holdings: [holding({ values: [1, 3], balances: new Map([...RICH, [1, 950], [2, 1050]]) })],
      says: 'nothing',
    },
    {
      name: 'an acknowledged transfer is gone, and no money is missing',
      entries: [entry(1, transfer(1, 10))],
      holdings: [holding()],
      says: [/acknowledged rows missing on one: 1/],
    },
    {
      name: 'a transfer is there, and the money was not moved',
      entries: [entry(1, transfer(1, 10))],
      holdings: [holding({ values: [1] })],
      says: [/accounts on one whose balance is not that of its transfers: 2, e.g. 1/],
    },
  ]

function listCase(
  entries: [Detail & { kind: 'lists' }, Entry['outcome']?][],
  list: number[],
): Verdict {
  const history = entries.map(([detail, outcome], index) =>
    entry(index * 2, detail, { outcome: outcome ?? 'ok' }),
  )
  const lists = new Map([
    [1, list],
    [2, list.map((item) => item + 100)],
  ])
  return checkHistory(history, [holding({ lists })])
}

const moves = (...all: (Detail & { kind: 'lists' })['moves']): Detail & { kind: 'lists' } => ({
  kind: 'lists',
  moves: all,
})

for (const { name, entries, holdings, says } of CASES) {
  test(name, () => {
    const { problems } = checkHistory(entries, holdings)
    if (says === 'nothing') return assert.deepEqual(problems, [])
    assert.equal(problems.length, says.length, problems.join('\n'))
    for (const pattern of says) assert.match(problems.join('\n'), pattern)
  })
}

test('lists in one order are in order', () => {
  const { problems } = listCase(
    [
      [moves({ key: 1, append: 1 }, { key: 2, append: 101 })],
      [moves({ key: 1, read: [1] }, { key: 2, append: 102 })],
      [moves({ key: 1, append: 2 })],
    ],
    [1, 2],
  )
  assert.deepEqual(problems, [])
})

test('a lost append is found, and counted', () => {
  const { problems, lost } = listCase([[moves({ key: 1, append: 9 })]], [])
  assert.equal(lost, 1)
  assert.match(problems.join(), /lost append/)
})

test('reads of what was rolled back, of half a transaction, and of no beginning', () => {
  const found = listCase(
    [
      [moves({ key: 1, append: 1 }), 'fail'],
      [moves({ key: 1, append: 2 }, { key: 1, append: 3 })],
      [moves({ key: 1, read: [1] })],
      [moves({ key: 1, read: [1, 2] })],
      [moves({ key: 1, read: [2] })],
    ],
    [1, 2, 3],
  )
  assert.match(found.problems.join('\n'), /G1a.*\n.*G1b/)
  assert.match(found.problems.join('\n'), /no beginning/)
})

test('cycles are named: G0, G1c, G-single, G2', () => {
  const write = (a: number, b: number) => moves({ key: 1, append: a }, { key: 2, append: b })
  const dirty = listCase([[write(1, 102)], [write(2, 101)]], [1, 2])
  assert.match(dirty.problems.join(), /\(G0\)/)
  const circular = listCase(
    [
      [moves({ key: 1, append: 1 }, { key: 2, read: [101] })],
      [moves({ key: 2, append: 101 }, { key: 1, read: [1] })],
    ],
    [1],
  )
  assert.match(circular.problems.join(), /\(G1c\)/)
  const skewed = listCase(
    [
      [moves({ key: 1, read: [] }, { key: 2, read: [101] })],
      [moves({ key: 1, append: 1 }, { key: 2, append: 101 })],
    ],
    [1],
  )
  assert.match(skewed.problems.join(), /\(G-single\)/)
  const write2 = listCase(
    [
      [moves({ key: 1, read: [] }, { key: 2, append: 101 })],
      [moves({ key: 2, read: [] }, { key: 1, append: 1 })],
    ],
    [1],
  )
  assert.match(write2.problems.join(), /\(G2\)/)
})
