// Proves set-aside without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type InstanceData,
  newTimelines,
  planPutBack,
  planSetAside,
  timelinePaths,
} from './set-aside.ts'
import type { ArchiveInventory } from './wal.ts'

type Kept = string[] | null

const dataOf = (hosts: Map<string, InstanceData>, id: string) => hosts.get(id) as InstanceData

/** A restore: what is there is set aside or removed, then everybody has new data. */
function restore(hosts: Map<string, InstanceData>, record: Kept): Kept {
  for (const data of hosts.values()) {
    const plan = planSetAside(data, record)
    if (plan === 'move') data.aside = true
    if (plan !== 'leave') data.present = false
  }
  const instances = [...hosts.values()].filter(({ aside }) => aside).map(({ id }) => id)
  for (const data of hosts.values()) data.present = true
  return instances
}

const fresh = (...ids: string[]) =>
  new Map(ids.map((id) => [id, { id, present: true, aside: false }]))

test('a second restore keeps what the first has set aside, and removes what that one made', () => {
  const hosts = fresh('a', 'b')
  const record = restore(hosts, null)
  assert.deepEqual(record, ['a', 'b'])
  assert.equal(planSetAside(dataOf(hosts, 'a'), record), 'remove')
  assert.deepEqual(restore(hosts, record), ['a', 'b'])
  assert.equal(planPutBack(dataOf(hosts, 'a'), record), 'put-back')
})

test('a restore that died while it set data aside goes on, also as another one', () => {
  const hosts = fresh('a', 'b')
  Object.assign(dataOf(hosts, 'a'), { present: false, aside: true })
  assert.equal(planSetAside(dataOf(hosts, 'a'), null), 'leave')
  assert.equal(planSetAside(dataOf(hosts, 'b'), null), 'move')
  // Its undo leaves alone what was never moved.
  assert.equal(planPutBack(dataOf(hosts, 'a'), null), 'put-back')
  assert.equal(planPutBack(dataOf(hosts, 'b'), null), 'leave')
})

test('an instance that came after the restore loses its data in the undo', () => {
  const hosts = fresh('a', 'b')
  const record = restore(hosts, null)
  hosts.set('c', { id: 'c', present: true, aside: false })
  assert.equal(planPutBack(dataOf(hosts, 'c'), record), 'remove')
  // A further restore does not keep it either: the undo would bring it back.
  assert.equal(planSetAside(dataOf(hosts, 'c'), record), 'remove')
})

test('an undo that runs again leaves what it has put back, and so does a restore after it', () => {
  const hosts = fresh('a', 'b')
  const record = restore(hosts, null)
  Object.assign(dataOf(hosts, 'a'), { present: true, aside: false })
  assert.equal(planPutBack(dataOf(hosts, 'a'), record), 'leave')
  assert.equal(planPutBack(dataOf(hosts, 'b'), record), 'put-back')
  assert.equal(planSetAside(dataOf(hosts, 'a'), record), 'move')
  assert.equal(planSetAside(dataOf(hosts, 'b'), record), 'remove')
})

const inventory: ArchiveInventory = {
  ranges: [
    { timeline: 1, first: 1, last: 300 },
    { timeline: 3, first: 250, last: 260 },
  ],
  histories: [2, 3],
  segments: 311,
  bytes: 1,
}

test('an undo forgets the timelines that were not there before the restore', () => {
  assert.deepEqual(newTimelines(inventory, [1]), [2, 3])
  assert.deepEqual(newTimelines(inventory, [1, 2, 3]), [])
  assert.deepEqual(timelinePaths(inventory, [2, 3]).sort(), [
    '00000002.history',
    '00000003.history',
    '0000000300000000',
    '0000000300000001',
  ])
})

test('where an agent does not tell histories, all that may be there are forgotten', () => {
  const { histories: _, ...old } = inventory
  assert.deepEqual(newTimelines({ ...old, ranges: inventory.ranges }, [1]), [2, 3])
})

test('an undo forgets nothing when nobody knows what was there', () => {
  assert.deepEqual(newTimelines(inventory, null), [])
  assert.deepEqual(newTimelines(inventory, []), [])
})
