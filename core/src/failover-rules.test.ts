// Goal: nobody loses the lead without one of the reasons that make that safe. Method: each rule
// from an observation in which it acts, with one thing changed at a time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type CanaryObservation,
  FENCED_SILENCE_MS,
  ISOLATION_FENCE_MS,
  isUnclaimed,
  judgeCanary,
  judgePostmaster,
  judgeSilence,
  judgeSurrender,
  type PostmasterObservation,
  SELF_DEMOTION_MS,
  SENSITIVITY_LIMITS,
  type SilenceObservation,
} from './failover-rules.ts'

const DEAD: PostmasterObservation = {
  alive: false,
  cleanShutdown: false,
  holdsLeaderKey: true,
  switchoverPending: false,
  paused: false,
}

function postmaster(change: Partial<PostmasterObservation>): string {
  const { act, fence } = judgePostmaster({ ...DEAD, ...change })
  return `${act ? 'takes the key' : 'keeps it'}${fence ? ', fences' : ''}`
}

test('a leader whose postmaster died is fenced and loses the key', () => {
  assert.equal(postmaster({}), 'takes the key, fences')
  assert.equal(postmaster({ switchoverPending: true }), 'takes the key, fences')
})

test('a postmaster that lives, does not lead or is of a paused cluster is left alone', () => {
  const changes = [{ alive: true }, { holdsLeaderKey: false }, { paused: true }]
  for (const change of changes) {
    assert.equal(postmaster(change), 'keeps it')
    assert.equal(postmaster({ ...change, cleanShutdown: true }), 'keeps it')
  }
})

test('a leader that was shut down in good order loses the key for a switchover only', () => {
  assert.equal(postmaster({ cleanShutdown: true }), 'keeps it')
  assert.equal(postmaster({ cleanShutdown: true, switchoverPending: true }), 'takes the key')
})

const MUTE: CanaryObservation = { wrote: true, heldMs: 10_001, silentMs: 10_001, limitMs: 10_000 }

test('a leader that answered once is fenced when it answers no more', () => {
  assert.equal(judgeCanary(MUTE).act, true)
  assert.equal(judgeCanary({ ...MUTE, silentMs: 10_000 }).act, false)
})

test('a leader that never answered may be promoting, but not for ever', () => {
  const never = { ...MUTE, wrote: false }
  assert.equal(judgeCanary(never).act, false)
  assert.equal(judgeCanary({ ...never, heldMs: 70_000, silentMs: 70_000 }).act, false)
  assert.equal(judgeCanary({ ...never, heldMs: 70_001, silentMs: 70_001 }).act, true)
})

test('who writes while another leads, or nobody, has no claim', () => {
  const seen = { leader: { name: 'demo-2' }, initialized: true, paused: false }
  assert.equal(isUnclaimed(seen, 'demo-1'), true)
  assert.equal(isUnclaimed({ ...seen, leader: undefined }, 'demo-1'), true)
  assert.equal(isUnclaimed(seen, 'demo-2'), false)
  assert.equal(isUnclaimed({ ...seen, paused: true }, 'demo-1'), false)
})

test('the first instance of a cluster is left alone while it is made', () => {
  const making = { leader: undefined, initialized: false, paused: false }
  assert.equal(isUnclaimed(making, 'demo-1'), false)
  assert.equal(isUnclaimed({ ...making, leader: { name: 'demo-2' } }, 'demo-1'), true)
})

const SILENT: SilenceObservation = {
  otherHosts: 2,
  silentFor: [3000, 3000],
  limitMs: 3000,
  durability: 'sync',
  syncReplicaKnown: true,
  leaseAgeMs: undefined,
  paused: false,
}

function takes(change: Partial<SilenceObservation>): boolean {
  return judgeSilence({ ...SILENT, ...change }).act
}

test('a majority of the other hosts must miss the leader', () => {
  assert.equal(takes({}), true)
  assert.equal(takes({ silentFor: [3000, 2999] }), false)
  assert.equal(takes({ silentFor: [3000] }), false)
  assert.equal(takes({ otherHosts: 1, silentFor: [3000] }), true)
  assert.equal(takes({ otherHosts: 3, silentFor: [3000, 3000, 0] }), true)
  assert.equal(takes({ otherHosts: 4, silentFor: [3000, 3000, 0, 0] }), false)
})

test('in a paused cluster nobody loses the lead', () => {
  assert.equal(takes({ paused: true }), false)
  assert.equal(takes({ paused: true, leaseAgeMs: 60_000 }), false)
})

test('who may acknowledge alone keeps the lead until its lease says that it has demoted', () => {
  for (const change of [
    { durability: 'async' },
    { durability: 'sync', syncReplicaKnown: false },
    { durability: 'strict', syncReplicaKnown: false },
  ] as const) {
    const fenced = { ...change, silentFor: [FENCED_SILENCE_MS, FENCED_SILENCE_MS] }
    assert.equal(takes(fenced), false)
    assert.equal(takes({ ...fenced, leaseAgeMs: SELF_DEMOTION_MS - 1 }), false)
    assert.equal(takes({ ...fenced, leaseAgeMs: SELF_DEMOTION_MS }), true)
  }
})

test('an old lease says nothing before the agent of a host that is cut off has fenced it', () => {
  const late = { durability: 'async', leaseAgeMs: 60_000 } as const
  assert.equal(takes({ ...late, silentFor: [FENCED_SILENCE_MS, FENCED_SILENCE_MS - 1] }), false)
  assert.equal(takes({ ...late, silentFor: [FENCED_SILENCE_MS, FENCED_SILENCE_MS] }), true)
})

test('who gave up loses the key, unless it could come back and acknowledge alone', () => {
  const seen = { durability: 'sync', syncReplicaKnown: true, paused: false } as const
  assert.equal(judgeSurrender(seen).act, true)
  assert.equal(judgeSurrender({ ...seen, durability: 'strict' }).act, true)
  for (const change of [{ durability: 'async' }, { syncReplicaKnown: false }, { paused: true }]) {
    assert.equal(judgeSurrender({ ...seen, ...change } as typeof seen).act, false)
  }
})

test('a leader that is cut off fences itself before others conclude that it stopped', () => {
  assert.ok(ISOLATION_FENCE_MS < FENCED_SILENCE_MS)
  assert.ok(FENCED_SILENCE_MS < SELF_DEMOTION_MS)
  const { fast, balanced, patient } = SENSITIVITY_LIMITS
  assert.ok(fast.hostSilenceMs < balanced.hostSilenceMs)
  assert.ok(balanced.hostSilenceMs < patient.hostSilenceMs)
})
