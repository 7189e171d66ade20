// What a terminal would take as a command is shown and not obeyed.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { escapeInQuotes, fitWidth, safeLine, safeLines, widthOf } from './safe-text.ts'

test('control sequences, bells and bidirectional overrides become visible escapes', () => {
  assert.equal(
    safeLine('a\x1b[2Jb\x07\r\n\x9b1mc\u202ed\x7f'),
    'a\\e[2Jb\\x07\\r\\n\\x9b1mc\\u{202e}d\\x7f',
  )
})

test('text without control characters stays as it is, in every script', () => {
  for (const text of ['Nguyễn Văn Ánh', '数据库', 'a"b\'c;$$\\', '🐘'])
    assert.equal(safeLine(text), text)
})

test('line ends of a long message stay, what else is in it does not', () => {
  assert.equal(safeLines('ERROR: x\n\x1bDETAIL'), 'ERROR: x\n\\eDETAIL')
})

test('escaped JSON parses to the same value', () => {
  const value = { name: 'a\x9b\u202e\x7f\u2028"\n', 'k\x85': [1] }
  const text = escapeInQuotes(JSON.stringify(value, null, 2))
  assert.deepEqual(JSON.parse(text), value)
  assert.ok(!/[\x7f-\x9f\u202e\u2028]/.test(text))
})

test('width counts columns, not code units', () => {
  assert.equal(widthOf('数据'), 4)
  assert.equal(widthOf('e\u0301'), 1)
  assert.equal(fitWidth('abcdef', 4), 'abc…')
  assert.equal(fitWidth('数据库', 4), '数…')
})
