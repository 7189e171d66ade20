// Goal: a host says that its instance gave up when that is so, and takes the word back. Method:
// what it sees of the dcs and of its PostgreSQL, one thing changed at a time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { ClusterView } from '../dcs/cluster-watch.ts'
import { until } from '../testing/until.ts'
import { tellSurrender } from './surrender.ts'

const GIVEN_UP = { leader: 'demo-1', silentMs: 5000, replica: true as boolean | undefined }

test('only who led, lost the dcs and is a replica has given up', async () => {
  const stop = new AbortController()
  let seen = GIVEN_UP
  let said: string | undefined
  let looks = 0
  const telling = tellSurrender({
    instance: { name: 'demo-1' } as WatchedCluster['localInstances'][number],
    watch: {
      view() {
        looks += 1
        const leader = { name: seen.leader, createRevision: '7', leaseId: '3' }
        return { leader } as ClusterView
      },
      silentMs: () => seen.silentMs,
    },
    hearing: {
      giveUp(claim) {
        said = claim
      },
    },
    isReplica: async () => seen.replica,
    signal: stop.signal,
  })
  const says = async (change: Partial<typeof GIVEN_UP>) => {
    seen = { ...GIVEN_UP, ...change }
    const from = looks
    await until(
      'it to look',
      () => looks,
      (count) => count >= from + 3,
    )
    return said
  }
  try {
    for (const change of [
      { leader: 'demo-2' },
      { silentMs: 100 },
      { replica: false },
      { replica: undefined },
    ]) {
      assert.equal(await says({}), '7')
      assert.equal(await says(change), undefined, JSON.stringify(change))
    }
  } finally {
    stop.abort()
    await telling
  }
})
