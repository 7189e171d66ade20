// Tables line up, and every format keeps hostile text from the terminal.
import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { parse } from 'yaml'
import {
  formatBytes,
  formatDuration,
  formatTable,
  makeOutput,
  makePaint,
  type OutputFormat,
  stateCell,
} from './output.ts'

const plain = makePaint(false)

async function printed(format: OutputFormat, value: unknown): Promise<string> {
  let text = ''
  const stdout = new Writable({
    write: (chunk, _encoding, done) => {
      text += chunk
      done()
    },
  })
  const output = makeOutput({ stdout, stderr: stdout }, { format, color: false })
  await output.print(value, () => ['a line'])
  return text
}

test('columns are padded to their widest cell, wide characters included', () => {
  const lines = formatTable(
    plain,
    ['NAME', 'STATE'],
    [
      ['数据', 'up'],
      ['a', stateCell('down')],
    ],
  )
  assert.deepEqual(lines, ['NAME  STATE', '数据  up', 'a     down'])
})

test('a hostile name cannot leave its cell', () => {
  const lines = formatTable(plain, ['NAME'], [['x\n\x1b[2Kfake row']])
  assert.deepEqual(lines, ['NAME', 'x\\n\\e[2Kfake row'])
})

test('colour surrounds the padded text and does not change the widths', () => {
  const lines = formatTable(makePaint(true), ['A', 'B'], [[{ text: 'x', style: 'red' }, 'y']])
  assert.equal(lines[1], '\x1b[31mx\x1b[39m  y')
})

test('people get lines, programs get the value', async () => {
  const value = { name: 'demo', list: [1, null], odd: '\x9b31m\u202e"\n' }
  assert.equal(await printed('table', value), 'a line\n')
  assert.deepEqual(JSON.parse(await printed('json', value)), value)
  const yaml = await printed('yaml', value)
  assert.deepEqual(parse(yaml), value)
  assert.ok(!/[\x80-\x9f\u202e]/.test(yaml), yaml)
})

test('bytes and durations are short', () => {
  assert.deepEqual([0, 1023, 1536, 1024 ** 3, null].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.5 KiB',
    '1 GiB',
    '—',
  ])
  assert.deepEqual([50, 61_000, 3_700_000, Number.NaN].map(formatDuration), [
    '0.1s',
    '1m1s',
    '1h1m',
    '—',
  ])
})
