// Goal: whom a gateway pointed at outlives its agent, and is not on disk before a change to it is.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { openLastLeaders } from './last-leaders.ts'

async function makeRoot(t: TestContext): Promise<{ path: string; file: string }> {
  const path = await mkdtemp('/tmp/hwd-')
  t.after(() => rm(path, { recursive: true, force: true }))
  await mkdir(join(path, HOST_LAYOUT.agent))
  return { path, file: join(path, HOST_LAYOUT.agent, 'leaders.json') }
}

test('the next agent knows whom a gateway pointed at', async (t) => {
  const root = await makeRoot(t)
  const leaders = await openLastLeaders(root)
  assert.equal(leaders.of('gwy_1'), undefined)
  await leaders.note('gwy_1', 'a', Promise.resolve())
  await leaders.note('gwy_2', 'b', Promise.resolve())
  const next = await openLastLeaders(root)
  assert.deepEqual([next.of('gwy_1'), next.of('gwy_2')], ['a', 'b'])
})

test('an agent that ends before it told a change leaves it to the next one', async (t) => {
  const root = await makeRoot(t)
  const leaders = await openLastLeaders(root)
  await leaders.note('gwy_1', 'a', Promise.resolve())
  const told = Promise.withResolvers<void>()
  const noted = leaders.note('gwy_1', 'b', told.promise)
  assert.equal(leaders.of('gwy_1'), 'b')
  assert.equal((await openLastLeaders(root)).of('gwy_1'), 'a')
  told.resolve()
  await noted
  assert.equal((await openLastLeaders(root)).of('gwy_1'), 'b')
})

test('a damaged file and a gateway that is long gone are no hindrance', async (t) => {
  const root = await makeRoot(t)
  for (const text of ['{', '[]', '{"gwy_1":7}']) {
    await writeFile(root.file, text)
    assert.equal((await openLastLeaders(root)).of('gwy_1'), undefined, text)
  }
  const leaders = await openLastLeaders(root)
  for (let number = 0; number < 101; number += 1) {
    await leaders.note(`gwy_${number}`, 'a', Promise.resolve())
  }
  const kept = Object.keys(JSON.parse(await readFile(root.file, 'utf8')))
  assert.deepEqual([kept.length, kept.includes('gwy_0')], [100, false])
})
