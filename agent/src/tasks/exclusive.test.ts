// Goal: of two tasks on one directory the newer one wins, and never runs beside the older. Method:
// bodies that end when they are told to.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { makeExclusive } from './exclusive.ts'

const never = new AbortController().signal

test('the newer task has the older one stop, and waits for its end', async () => {
  const exclusive = makeExclusive()
  const said: string[] = []
  const begun = Promise.withResolvers<void>()
  const first = exclusive.run('data/one', never, async (signal) => {
    said.push('first begins')
    begun.resolve()
    await once(signal, 'abort')
    said.push('first ends')
    throw new Error('cut short')
  })
  await begun.promise
  const second = exclusive.run('data/one', never, async () => {
    said.push('second begins')
    return 2
  })
  await assert.rejects(first, /cut short/)
  assert.equal(await second, 2)
  assert.deepEqual(said, ['first begins', 'first ends', 'second begins'])
})

test('other directories, and what comes later, do not notice', async () => {
  const exclusive = makeExclusive()
  const ended = new AbortController()
  const begun = Promise.withResolvers<void>()
  const held = exclusive.run('data/one', ended.signal, async (signal) => {
    begun.resolve()
    await once(signal, 'abort')
    return 'aborted from outside'
  })
  await begun.promise
  assert.equal(await exclusive.run('data/two', never, async () => 'beside'), 'beside')
  ended.abort()
  assert.equal(await held, 'aborted from outside')
  assert.equal(await exclusive.run('data/one', never, async () => 'after'), 'after')
})
