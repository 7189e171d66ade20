// Goal: a spare is whole, current, and there again after it was taken. Method: the real initdb on a
// real root, and what a crash or an upgrade would leave there.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { SPARES, spareDirectory } from '@howdah/core/spare-directory.ts'
import { pino } from 'pino'
import { type HostRoot, makeServiceDirectories, openHostRoot } from '../host-root.ts'
import { type FactsReader, makeFactsReader } from '../observe/host-facts.ts'
import { runProgram } from '../run-program.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { until } from '../testing/until.ts'
import { keepSpares, makeSpare } from './spares.ts'

const log = pino({ level: 'silent' })
let base: string
let root: HostRoot
let readFacts: FactsReader
let spare: string
let binaries: string

before(async () => {
  base = await mkdtemp('/tmp/hwd-spares-')
  await runProgram({ argv: ['chmod', '755', base], timeoutMs: 5000 })
  root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  readFacts = await makeFactsReader(root, undefined)
  const { postgresql } = await readFacts()
  const version = Object.keys(postgresql).sort((a, b) => Number(b) - Number(a))[0] as string
  binaries = postgresql[version] as string
  spare = join(root.path, spareDirectory(version))
})

after(() => rm(base, { recursive: true, force: true }))

const make = () => makeSpare({ root, readFacts, log, signal: new AbortController().signal })

async function identifier(): Promise<string> {
  const argv = [`${binaries}/pg_controldata`, '-D', spare] as const
  const said = await runProgram({ argv: [...argv], timeoutMs: 10_000 })
  assert.match(said, /Database cluster state: +shut down\n/)
  assert.match(said, /Data page checksum version: +1\n/)
  return /system identifier: +(\d+)/.exec(said)?.[1] ?? ''
}

test('each cluster gets one of its own, and what a crash left is swept', async () => {
  await makeServiceDirectories(root, [`${SPARES}/making-1-1/base`])
  await make()
  const first = await identifier()
  const { uid, mode } = await stat(spare)
  assert.deepEqual([uid, mode & 0o777], [root.serviceUser.uid, 0o700])
  assert.deepEqual(await readdir(join(spare, '..')), [spare.split('/').at(-1)])
  await make()
  assert.equal(await identifier(), first, 'one that is there is kept')
  await rename(spare, join(base, 'taken'))
  await make()
  assert.notEqual(await identifier(), first)
})

test('one from before an upgrade of PostgreSQL is replaced', async () => {
  const before = await identifier()
  await utimes(join(spare, 'PG_VERSION'), 0, 0)
  await make()
  assert.notEqual(await identifier(), before)
})

test('it is made when the host is quiet, and not before', async () => {
  await rm(spare, { recursive: true })
  const stop = new AbortController()
  let quietMs = 0
  let looks = 0
  const look = () => {
    looks += 1
    return quietMs
  }
  const isThere = () => stat(spare).then(Boolean, () => false)
  const keeping = keepSpares({
    root,
    readFacts,
    quietMs: look,
    restMs: 0,
    log,
    signal: stop.signal,
  })
  try {
    await until(
      'a look',
      async () => looks,
      (count) => count >= 2,
      30_000,
    )
    assert.equal(await isThere(), false)
    quietMs = 60_000
    await until('a spare', isThere, Boolean, 60_000)
  } finally {
    stop.abort()
    await keeping
  }
})
