// Proves what an answer of Patroni to a failover means, and who may lead after one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeLoss, readAnswer } from './failover.ts'

const answered = (status: number, body: unknown) =>
  readAnswer({ ok: true, error: '', value: { status, body } })

test('what Patroni refuses is told in its words', () => {
  const { refusal } = answered(412, 'candidate does not exists')
  assert.equal(refusal, 'Patroni answered 412: candidate does not exists')
})

test('503 is no refusal: the new leader may come all the same', () => {
  const { refusal, said } = answered(503, 'Failover status unknown')
  assert.equal(refusal, '')
  assert.equal(said, 'Patroni answered 503: Failover status unknown')
})

test('success, and an agent that did not get through, are no refusals', () => {
  assert.deepEqual(answered(200, 'Successfully failed over'), { refusal: '', said: '' })
  const lost = readAnswer({ ok: false, error: 'connection refused', value: undefined })
  assert.deepEqual(lost, { refusal: '', said: 'connection refused' })
})

test('who lacks acknowledged commits leads only where a loss is accepted', () => {
  assert.equal(judgeLoss('demo-2', 'sync-replica', 'sync', false), true)
  assert.equal(judgeLoss('demo-2', 'replica', 'sync', true), false)
  assert.equal(judgeLoss('demo-2', 'sync-replica', 'async', true), false)
  for (const [role, durability] of [
    ['replica', 'sync'],
    ['unknown', 'strict'],
    ['sync-replica', 'async'],
  ] as const) {
    assert.throws(() => judgeLoss('demo-2', role, durability, false), {
      code: 'wrong-state',
      message: /acknowledged commits could be missing/,
    })
  }
})
