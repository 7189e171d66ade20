// What people write as a rate or a count, and what is none.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCountOrNever, parseRate } from './option-values.ts'

test('a rate is read with its unit', () => {
  assert.equal(parseRate('20MB/s'), 20_000_000)
  assert.equal(parseRate('1.5 GB'), 1_500_000_000)
  assert.equal(parseRate('4MiB/s'), 4_194_304)
})

test('what is no rate, or hardly one, is refused', () => {
  for (const text of [
    '',
    '20',
    '20Mb',
    '0MB/s',
    '1KB/s',
    '-1MB/s',
    '20MB/h',
    '1e9GB/s',
    'constructor',
  ]) {
    assert.throws(() => parseRate(text), /at least 1MB/, text)
  }
})

test('a count may be never, and nothing else that is no number', () => {
  const parse = parseCountOrNever(1, 1000)
  assert.equal(parse('never'), null)
  assert.equal(parse('2'), 2)
  for (const text of ['0', '1001', '', 'Never', 'null', '-1', '2.5']) {
    assert.throws(() => parse(text), /from 1 to 1000/, text)
  }
})
