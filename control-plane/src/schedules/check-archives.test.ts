// Who waits for whom when archives are looked at: a store that does not answer delays its own
// clusters only.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { makeRounds } from './check-archives.ts'

interface Due {
  id: number
  repository_id: string
}

test('a store that never answers keeps no cluster of another store waiting', async () => {
  const silent = Array.from({ length: 20 }, (_, id) => ({ id, repository_id: 'silent' }))
  const queue: Due[] = [...silent, { id: 100, repository_id: 'well' }]
  const begun: Due[] = []
  const round = makeRounds<Due>(
    async (busy) => {
      const index = queue.findIndex(({ repository_id }) => !busy.includes(repository_id))
      return index < 0 ? undefined : queue.splice(index, 1)[0]
    },
    async (due) => {
      begun.push(due)
      if (due.repository_id === 'silent') await new Promise(() => undefined)
    },
  )
  await round()
  assert.deepEqual(begun.map(({ repository_id }) => repository_id).sort(), [
    'silent',
    'silent',
    'silent',
    'silent',
    'well',
  ])
  // Its place is free again, and what is due next is begun without waiting for the silent ones.
  queue.push({ id: 101, repository_id: 'well' })
  await round()
  assert.equal(begun.at(-1)?.id, 101)
})

test('the place of one that was looked at is for the next at once', async () => {
  const queue: Due[] = Array.from({ length: 9 }, (_, id) => ({ id, repository_id: 'well' }))
  const begun: number[] = []
  const round = makeRounds<Due>(
    async (busy) => (busy.includes('well') ? undefined : queue.shift()),
    async ({ id }) => {
      begun.push(id)
      await setImmediate()
    },
  )
  await round()
  for (let turn = 0; turn < 100 && begun.length < 9; turn += 1) await setImmediate()
  assert.equal(begun.length, 9)
})
