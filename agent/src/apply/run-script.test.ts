// Goal: an argument reaches its program byte for byte, whatever it holds. Method: core's run script
// through the real execlineb, with a program that prints its arguments and environment.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { renderRunScript } from '@howdah/core/execline.ts'
import { runProgram } from '../run-program.ts'

const ODD = [
  '',
  ' ',
  'a b',
  '\t\n\r',
  '\v\f\b\x1b\x7f',
  '"',
  "'",
  '\\',
  '\\n',
  '\\"',
  '\\\\',
  'x\\',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: execline's own way to say a variable
  '$HOME ${PATH} $1 $@',
  '`id`$(id)',
  '{ }',
  '{',
  '}',
  '# no comment',
  ';&|<>*?[]~!%^()',
  '-n',
  '--',
  'A=B',
  '0x41 \\0x41 \\065',
  'é 象 🐘 \u2028',
]

test('every odd argument and value arrives as it was', async () => {
  const everyByte = Array.from({ length: 127 }, (_, index) => String.fromCharCode(index + 1))
  const args = [...ODD, ...everyByte, everyByte.join('')]
  const env = Object.fromEntries(ODD.map((value, index) => [`V${index}`, value]))
  const directory = await mkdtemp('/tmp/hwd-run-')
  try {
    const print = 'console.log(JSON.stringify([process.argv.slice(1), process.env, process.cwd()]))'
    const script = renderRunScript({
      argv: [process.execPath, '-e', print, '--', ...args],
      env,
      directory,
    })
    const path = join(directory, 'run')
    await writeFile(path, script, { mode: 0o700 })
    const said = JSON.parse(await runProgram({ argv: [path], timeoutMs: 10_000 }))
    assert.deepEqual(said, [args, env, directory])
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
