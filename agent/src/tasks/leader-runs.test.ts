// Proves when two instances count as leaders at one moment: only where answers leave no doubt.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeLeaderRuns } from './leader-runs.ts'

type Answer = [instance: string, askedMs: number, answeredMs: number, leads: boolean | undefined]

function mostOf(answers: readonly Answer[]): number {
  let nowMs = 0
  const runs = makeLeaderRuns(() => nowMs)
  for (const [instance, askedMs, answeredMs, leads] of answers) {
    nowMs = answeredMs
    runs.note({ instance, askedMs, leads })
  }
  return runs.most()
}

test('a leader that follows another one is one at a time', () => {
  assert.equal(mostOf([]), 0)
  const handed: Answer[] = [
    ['a', 0, 5, true],
    ['a', 100, 105, true],
    ['a', 200, 205, false],
    ['b', 300, 305, true],
    ['b', 400, 405, true],
  ]
  assert.equal(mostOf(handed), 1)
})

test('one that does not answer any more is not known to lead', () => {
  const cutOff: Answer[] = [
    ['a', 0, 5, true],
    ['a', 100, 105, true],
    ['b', 3400, 3405, true],
    ['b', 3500, 3505, true],
    ['a', 200, 5200, undefined],
  ]
  assert.equal(mostOf(cutOff), 1)
})

test('two that say so again and again lead at one moment', () => {
  const split: Answer[] = [
    ['a', 0, 5, true],
    ['b', 50, 55, true],
    ['a', 100, 105, true],
    ['b', 150, 155, true],
  ]
  assert.equal(mostOf(split), 2)
  // A late answer may be from before the other one led.
  assert.equal(
    mostOf([
      ['a', 0, 5, true],
      ['b', 50, 55, true],
      ['a', 40, 300, true],
    ]),
    1,
  )
})
