// Goal: heartbeats of an agent that begins anew are newer than all before, whatever the clock says.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { reserveBeats } from './beat-sequence.ts'

const NOW_MS = Date.parse('2026-05-01T12:00:00Z')
const HOUR_MS = 3_600_000
/** Five in a second. */
const MONTHS_OF_BEATS = 180 * 24 * 3600 * 5

test('a clock that was put back over a reboot does not make beats old', async (t) => {
  const path = await mkdtemp('/tmp/hwd-')
  t.after(() => rm(path, { recursive: true, force: true }))
  await mkdir(join(path, HOST_LAYOUT.agent))
  const log = pino({ level: 'silent' })
  const begin = (nowMs: number) => reserveBeats({ path }, nowMs, log)
  const first = await begin(NOW_MS)
  assert.equal(first, NOW_MS * 1000)
  const second = await begin(NOW_MS - HOUR_MS)
  assert.ok(second > first + MONTHS_OF_BEATS, `${second} after ${first}`)
  assert.ok((await begin(NOW_MS - HOUR_MS)) > second + MONTHS_OF_BEATS)
  // The clock goes on: it counts, as for an agent of a version before this.
  assert.equal(await begin(NOW_MS + HOUR_MS), (NOW_MS + HOUR_MS) * 1000)
  await writeFile(join(path, HOST_LAYOUT.agent, 'beats'), 'damaged')
  assert.equal(await begin(NOW_MS), NOW_MS * 1000)
})

test('a disk that takes nothing keeps no host silent', async () => {
  const log = pino({ level: 'silent' })
  assert.equal(await reserveBeats({ path: '/nowhere' }, NOW_MS, log), NOW_MS * 1000)
})
