// Proves that a stopwatch tells an absence by whichever clock saw it, and none by a clock that is
// set back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startStopwatch } from './stopwatch.ts'

function ticking(now: { monotonic: number; wall: number }) {
  return startStopwatch({ monotonicMs: () => now.monotonic, wallMs: () => now.wall })
}

test('the longer of the two clocks counts', () => {
  const now = { monotonic: 1000, wall: 50_000 }
  const elapsedMs = ticking(now)
  assert.equal(elapsedMs(), 0)
  now.monotonic += 20
  assert.equal(elapsedMs(), 20)
  now.wall += 9000
  assert.equal(elapsedMs(), 9000)
  now.wall -= 60_000
  assert.equal(elapsedMs(), 20)
})

test('without clocks of its own it runs', () => {
  const elapsedMs = startStopwatch()
  assert.ok(elapsedMs() >= 0 && elapsedMs() < 60_000)
})
