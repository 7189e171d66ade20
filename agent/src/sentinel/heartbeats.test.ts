// Goal: a host is silent when it is not heard, or says so of us, and not while it answers. Method:
// real datagrams between addresses of this machine, the other host's written by the test.
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { after, before, test } from 'node:test'
import { HEARTBEAT_PORT, type WatchedCluster } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { until } from '../testing/until.ts'
import {
  type ClusterHearing,
  decodeBeat,
  encodeBeat,
  type Heartbeats,
  startHeartbeats,
} from './heartbeats.ts'

const KEY = 'k'.repeat(32)
const OWN = '127.61.5.1'
/** Of its beats. */
const FIRST = 7000
const OTHER = '127.61.5.2'
const stop = new AbortController()
const socket = createSocket('udp4')
const heard: Record<string, number>[] = []
const heardGivenUp: (string | undefined)[] = []
const heardSequences: number[] = []
const heardHeld: string[][] = []
let heartbeats: Heartbeats
let hearing: ClusterHearing
let sequence = 0

function beat(
  silent: Record<string, number>,
  said: { gaveUp?: string; held?: string[] } = {},
): void {
  sequence += 1
  const datagram = encodeBeat(KEY, { cluster: 'clu_h', from: 'other', sequence, silent, ...said })
  socket.send(datagram, HEARTBEAT_PORT, OWN)
}

before(async () => {
  socket.on('message', (datagram) => {
    const decoded = decodeBeat(() => KEY, datagram)
    if (decoded === undefined) return
    heard.push(decoded.silent)
    heardSequences.push(decoded.sequence)
    heardGivenUp.push(decoded.gaveUp)
    heardHeld.push(decoded.held ?? [])
  })
  await new Promise<void>((resolve) => socket.bind(HEARTBEAT_PORT, OTHER, resolve))
  heartbeats = startHeartbeats('own', FIRST, pino({ level: 'silent' }), stop.signal)
  hearing = heartbeats.join({
    id: 'clu_h',
    heartbeatKey: KEY,
    peers: [
      { hostId: 'own', address: OWN },
      { hostId: 'other', address: OTHER },
    ],
  } as unknown as WatchedCluster)
})

after(async () => {
  stop.abort()
  await heartbeats.done
  socket.close()
})

/** The other host beats until it is heard. */
async function hear(silent: Record<string, number>, holds: (silentMs: number) => boolean) {
  const observe = () => {
    beat(silent)
    return { silentMs: hearing.silentMs('other'), heardCount: hearing.heardCount() }
  }
  await until(
    'the beat to be heard',
    observe,
    (seen) => seen.heardCount === 1 && holds(seen.silentMs),
  )
}

test('a host that beats is heard, and one that hears us not says so', async () => {
  await hear({}, (ms) => ms < 1000)
  await hear({ own: 60_000 }, (ms) => ms >= 60_000)
})

test('a host that is deaf for beats only, and answers, is not silent', async () => {
  await hear({ own: 60_000 }, (ms) => ms >= 60_000)
  hearing.noteAlive('other')
  // Its next beats say the same, and are newer than its answer.
  for (let beats = 0; beats < 3; beats += 1) {
    beat({ own: 60_000 + beats })
    const before = heard.length
    await until(
      'a beat of our own',
      () => heard.length,
      (count) => count > before,
    )
    assert.ok(hearing.silentMs('other') < 20_000, `${hearing.silentMs('other')} ms`)
  }
})

test('the word that a claim was given up goes both ways, and is taken back', async () => {
  const said = (expected: string | undefined) =>
    until(
      'the other host’s word',
      () => {
        beat({}, expected === undefined ? {} : { gaveUp: expected })
        return hearing.gaveUp('other')
      },
      (claim) => claim === expected,
    )
  await said('77')
  await said(undefined)
  for (const claim of ['78', undefined]) {
    hearing.giveUp(claim)
    await until(
      'our own word',
      () => heardGivenUp.at(-1),
      (last) => last === claim,
    )
  }
  await said('79')
  await until(
    'it to be stale',
    () => hearing.gaveUp('other'),
    (claim) => claim === undefined,
  )
})

test('clients are held once all gateways are heard to hold theirs, from then on', async () => {
  const seen = { held: false }
  const awaiting = hearing.awaitHeld(['gwy_own', 'gwy_other'], stop.signal).then(() => {
    seen.held = true
  })
  hearing.hold('gwy_own', true)
  await until(
    'our word',
    () => heardHeld.at(-1),
    (last) => last?.includes('gwy_own') === true,
  )
  await hear({}, (ms) => ms < 1000)
  assert.equal(seen.held, false)
  beat({}, { held: ['gwy_other'] })
  await awaiting
  hearing.hold('gwy_own', false)
  await until(
    'our word to end',
    () => heardHeld.at(-1),
    (last) => last?.length === 0,
  )
  // What was said before does not count.
  const ending = new AbortController()
  const again = hearing.awaitHeld(['gwy_other'], ending.signal)
  ending.abort(new Error('over'))
  await assert.rejects(again, /over/)
})

test('a host that only answers is silent again when it answers no more', async () => {
  hearing.noteAlive('other')
  const silentMs = () => hearing.silentMs('other')
  await until('silence', silentMs, (ms) => ms > 500)
  await until(
    'word of it to others',
    () => heard.at(-1)?.['other'] ?? 0,
    (ms) => ms > 500,
  )
})

test('a host whose beats do not come is told of, even if it answers, until one comes', async () => {
  const told = () => {
    hearing.noteAlive('other')
    return heartbeats.unheard()
  }
  await until('it to be told of', told, (unheard) => unheard.length > 0)
  assert.deepEqual(heartbeats.unheard(), [{ cluster: 'clu_h', host: 'other' }])
  await hear({}, (ms) => ms < 1000)
  assert.deepEqual(heartbeats.unheard(), [])
})

test('beats count from where they were told to', () => {
  assert.equal(heardSequences[0], FIRST + 1)
})

test('a beat under another key, or none at all, is nobody’s', () => {
  const sent = { cluster: 'clu_h', from: 'other', sequence: 1, silent: {} }
  assert.deepEqual(
    decodeBeat(() => KEY, encodeBeat(KEY, sent)),
    sent,
  )
  assert.equal(
    decodeBeat(() => KEY, encodeBeat('other', sent)),
    undefined,
  )
  assert.equal(
    decodeBeat(() => undefined, encodeBeat(KEY, sent)),
    undefined,
  )
  assert.equal(
    decodeBeat(() => KEY, Buffer.from('{}')),
    undefined,
  )
})
