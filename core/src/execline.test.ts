// Proves the text of run scripts; that execline reads it back word for word is proven beside the
// agent, agent/src/apply/run-script.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renderLogScript, renderRunScript } from './execline.ts'

const script = { argv: ['/bin/x'], env: {}, directory: '/d' }

test('a run script drops privileges, bounds files and inherits no environment', () => {
  const text = renderRunScript({ ...script, env: { A: '1' }, user: 'postgres', openFiles: 9 })
  assert.equal(
    text,
    [
      '#!/usr/bin/execlineb -P',
      '"fdmove" "-c" "2" "1"',
      '"cd" "/d"',
      '"s6-setuidgid" "postgres"',
      '"s6-softlimit" "-o" "9"',
      '"/usr/bin/env" "-i" "A=1"',
      '"/bin/x"',
      '',
    ].join('\n'),
  )
})

test('without a user it stays who it is', () => {
  assert.doesNotMatch(renderRunScript(script), /setuidgid/)
  assert.doesNotMatch(renderLogScript('/log', undefined), /setuidgid/)
})

test('no word can end its quotes or its line', () => {
  const word = 'a"b\\c\nd\re\tf} ; $x `y`'
  const text = renderRunScript({ ...script, argv: ['/bin/x', word] })
  const last = text.trimEnd().split('\n').at(-1)
  assert.equal(last, '"/bin/x" "a\\"b\\\\c\\nd\\re\\tf} ; $x `y`"')
})

test('NUL in a word that reached a script is a bug of ours', () => {
  assert.throws(() => renderRunScript({ ...script, argv: ['/bin/x', 'a\0'] }), /^Error: BUG/)
})
