// Goal: a leader whose host says that it gave up loses its claim, and no other leader does. Method:
// a view of the dcs and what is heard of the leader's host, one thing changed at a time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import type { ClusterView } from '../dcs/cluster-watch.ts'
import { until } from '../testing/until.ts'
import { runHostSentinel } from './host-sentinel.ts'

const SEEN = {
  gaveUp: '7' as string | undefined,
  silentMs: 0,
  durability: 'sync',
  leaseAgeMs: 0,
  syncReplicas: ['demo-2'],
}

/** Which claim is taken, and under which revision of the synchronous replicas; '' when none is. */
async function taken(change: Partial<typeof SEEN>): Promise<string> {
  const seen = { ...SEEN, ...change }
  const stop = new AbortController()
  let looks = 0
  let deleted = ''
  const leader = { name: 'demo-1', createRevision: '7', leaseId: '3' }
  const running = runHostSentinel({
    hostId: 'hst_own',
    cluster: {
      id: 'clu_h',
      sensitivity: 'fast',
      durability: seen.durability,
      // Nothing answers there.
      instances: [{ name: 'demo-1', hostId: 'hst_leader', address: '127.0.0.1', postgresPort: 1 }],
    } as unknown as WatchedCluster,
    watch: {
      view() {
        looks += 1
        const { syncReplicas } = seen
        return { leader, syncReplicas, syncRevision: '9', paused: false } as unknown as ClusterView
      },
      silentMs: () => 0,
      async deleteLeaderKey({ createRevision }, syncRevision) {
        deleted = `${createRevision} under ${syncRevision}`
        return true
      },
      leaseAgeMs: async () => seen.leaseAgeMs,
      refresh: async () => true,
      subscribe: () => () => undefined,
      done: Promise.resolve(),
    },
    hearing: {
      silentMs: () => seen.silentMs,
      othersSilentMs: () => [seen.silentMs],
      noteAlive: () => undefined,
      giveUp: () => undefined,
      gaveUp: () => seen.gaveUp,
      hold: () => undefined,
      awaitHeld: async () => undefined,
      heardCount: () => 2,
      otherCount: 2,
    },
    events: { add: async () => undefined, pending: () => [], forget: async () => undefined },
    log: pino({ level: 'silent' }),
    signal: stop.signal,
  })
  // A silence counts from when the claim was seen first.
  const enough = seen.silentMs > 0 ? 120 : 20
  await until(
    'it to look',
    () => looks + (deleted === '' ? 0 : enough),
    (count) => count >= enough,
  )
  stop.abort()
  await running
  return deleted
}

test('who gave up loses this very claim, unless somebody changed the replicas since', async () => {
  assert.equal(await taken({}), '7 under 9')
  assert.equal(await taken({ gaveUp: '6' }), '')
  assert.equal(await taken({ gaveUp: undefined }), '')
  assert.equal(await taken({ syncReplicas: [] }), '')
  assert.equal(await taken({ durability: 'async' }), '')
})

test('who gave up and is silent, too, loses it as any that is silent', async () => {
  const silent = { durability: 'async', silentMs: 60_000 }
  assert.equal(await taken({ ...silent, leaseAgeMs: 60_000 }), '7 under 9')
  assert.equal(await taken({ ...silent, leaseAgeMs: 0 }), '')
})
