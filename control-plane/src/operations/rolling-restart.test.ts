// Proves what an answer of Patroni to a restart means.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endOfRestart } from './rolling-restart.ts'

test('an instance that is no replica any more was not restarted, and that is no failure', () => {
  const body = 'restart conditions are not satisfied'
  assert.equal(endOfRestart('demo-2', { status: 503, body }), 'unmet')
  assert.equal(endOfRestart('demo-2', { status: 200, body: 'restarted' }), 'restarted')
})

test('a restart that failed is told in the words of Patroni', () => {
  assert.throws(() => endOfRestart('demo-2', { status: 503, body: 'restart failed' }), {
    code: 'agent-refused',
    message: 'Patroni of demo-2 answered 503: "restart failed"',
  })
})
