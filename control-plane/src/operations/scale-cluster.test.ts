// Proves when the data of an instance that was stopped may go: only when it is certain that it did
// not lead meanwhile.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refuseWhoLed } from './scale-cluster.ts'

const REIGN = { leader: 'demo-1', timeline: '00000001' }

test('what was stopped under one leader on one timeline may go', () => {
  refuseWhoLed('demo-2', REIGN, REIGN)
})

test('what leads by now is not stopped', () => {
  assert.throws(() => refuseWhoLed('demo-1', REIGN, REIGN), /demo-1 leads by now/)
})

test('data is kept when the leader changed while it was stopped', () => {
  const later = { leader: 'demo-3', timeline: '00000002' }
  assert.throws(() => refuseWhoLed('demo-2', REIGN, later), /its data is kept/)
})

test('data is kept when the same leader is back on another timeline: another led between', () => {
  const back = { leader: 'demo-1', timeline: '00000003' }
  assert.throws(() => refuseWhoLed('demo-2', REIGN, back), /its data is kept/)
})
