// Proves who counts as a client that is held.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sumWaiting } from './pgbouncer-admin.ts'

function pool(database: string, user: string, waiting: number, maxwait: number) {
  return { database, user, cl_waiting: `${waiting}`, maxwait: `${maxwait}`, maxwait_us: '500000' }
}

test('the clients of all pools count, and the one that waits longest', () => {
  const pools = [pool('app', 'app', 3, 0), pool('app', 'howdah_pooler', 1, 1)]
  assert.deepEqual(sumWaiting(pools), { count: 4, waitedMsMax: 1500 })
  assert.deepEqual(sumWaiting([]), { count: 0, waitedMsMax: 0 })
})

test('a canary that waits is no client, neither where it logs in nor where it writes', () => {
  const canary = [pool('postgres', 'howdah_pooler', 1, 7), pool('postgres', 'howdah_probe', 1, 7)]
  const pools = [...canary, pool('app', 'app', 2, 0), pool('postgres', 'person', 1, 0)]
  assert.deepEqual(sumWaiting(pools), { count: 3, waitedMsMax: 500 })
})
