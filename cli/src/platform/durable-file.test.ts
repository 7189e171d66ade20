// Durable writes: content, mode, and nothing left behind.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readOptional, writeDurable } from './durable-file.ts'

test('a file is replaced as a whole, with its mode, and a change is told', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'hd-'))
  const path = join(directory, 'file')
  const umask = process.umask(0o077)
  try {
    assert.equal(await readOptional(path), undefined)
    assert.equal(await writeDurable(path, 'one', 0o644), true)
    assert.equal(await writeDurable(path, 'one', 0o755), false)
    assert.equal((await stat(path)).mode & 0o777, 0o755)
    assert.equal(await writeDurable(path, 'two', 0o600), true)
    assert.equal(await readFile(path, 'utf8'), 'two')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(directory), ['file'])
  } finally {
    process.umask(umask)
    await rm(directory, { recursive: true })
  }
})
