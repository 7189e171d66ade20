// Who waits for whom when archives are looked at: a store that does not answer delays its own
// clusters only.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { makeRounds } from './check-archives.ts'

interface Due {
  cluster_id: string
  repository_id: string
}

const due = (repository_id: string, number: number) => ({ repository_id, cluster_id: `${number}` })

test('a store that never answers keeps no cluster of another store waiting', async () => {
  const silent = Array.from({ length: 20 }, (_, number) => due('silent', number))
  const queue: Due[] = [...silent, due('well', 100)]
  const begun: Due[] = []
  const round = makeRounds<Due>(
    async (busy) => {
      const index = queue.findIndex(
        ({ repository_id }) => !busy.repositories.includes(repository_id),
      )
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
  queue.push(due('well', 101))
  await round()
  assert.equal(begun.at(-1)?.cluster_id, '101')
})

test('the place of one that was looked at is for the next at once', async () => {
  const queue: Due[] = Array.from({ length: 9 }, (_, number) => due('well', number))
  const begun: string[] = []
  const round = makeRounds<Due>(
    async (busy) => (busy.repositories.includes('well') ? undefined : queue.shift()),
    async ({ cluster_id }) => {
      begun.push(cluster_id)
      await setImmediate()
    },
  )
  await round()
  for (let turn = 0; turn < 100 && begun.length < 9; turn += 1) await setImmediate()
  assert.equal(begun.length, 9)
})

test('a cluster that is being looked at is not claimed again', async () => {
  const seen: (readonly string[])[] = []
  const queue: Due[] = [due('well', 1)]
  const round = makeRounds<Due>(
    async (busy) => {
      seen.push(busy.clusters)
      return queue.shift()
    },
    () => new Promise(() => undefined),
  )
  await round()
  assert.deepEqual(seen, [[], ['1']])
})
