// Proves that a cluster that is brought up has its place in the repository before anything else
// makes WAL, as what is archived before is archived in vain; and, with agents that are played, that
// what is written at its beginning outlives a leader that is lost before it has replicas.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { type PlayedCluster, playCluster } from '../testing/play-cluster.ts'
import { BRING_UP_STEPS, bringUp, onOneTimeline } from './bring-up.ts'

let played: PlayedCluster
before(async () => {
  played = await playCluster()
  await played.report('demo-1')
})
after(async () => {
  await played?.stop()
})

/** Each is one answer of whoever leads then; the last one stays. */
function playTimelines(timelines: string[]): void {
  played.play(() => {
    const timeline = timelines.length > 1 ? timelines.shift() : timelines[0]
    return [{ rows: [{ timeline, streaming: null }] }]
  })
}

const REFUSED = new HowdahError('database-refused', 'database "app" does not exist')

test('there is a place to archive to as soon as somebody leads', async () => {
  const ran: string[] = []
  const step = async <T>(name: string) => {
    ran.push(name)
    return undefined as T
  }
  await bringUp({ step }, async () => undefined)
  assert.deepEqual(
    ran,
    BRING_UP_STEPS.map(({ name }) => name),
  )
  assert.equal(ran[ran.indexOf('wait-leader') + 1], 'prepare-backups')
})

test('what a leader took with it is written again on the next one', async () => {
  for (const refusals of [[], [REFUSED]]) {
    playTimelines(['1', '2', '2'])
    let count = 0
    const timeline = await onOneTimeline(played.step, async () => {
      const refusal = refusals[count++]
      if (refusal !== undefined) throw refusal
    })
    assert.deepEqual([timeline, count], ['2', 2])
  }
})

test('what is refused on one timeline is refused', async () => {
  playTimelines(['1'])
  await assert.rejects(
    onOneTimeline(played.step, async () => {
      throw REFUSED
    }),
    REFUSED,
  )
})

test('a timeline that began before the replicas came has it written, too', async () => {
  playTimelines(['2'])
  const ran: string[] = []
  const bodies: Record<string, unknown> = { 'prepare-database': '1' }
  const step = async <T>(name: string, body: (step: typeof played.step) => Promise<T>) => {
    if (name !== 'wait-replicas') return bodies[name] as T
    await played.report('demo-1', 'demo-2')
    return body(played.step)
  }
  await bringUp({ step }, async () => void ran.push('again'))
  assert.deepEqual(ran, ['again'])
})
