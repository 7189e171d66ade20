// Goal: a new cluster does not wait for initdb where its host has a spare, and no two clusters get
// the same one. Method: a platform that keeps spares, and PostgreSQL's own word of what it is.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { areMade, listSpares } from '../harness/spares.ts'
import { until } from '../harness/until.ts'

const SPARES_TIMEOUT_MS = 120_000
const BINARIES = '/usr/lib/postgresql'

let platform: TestPlatform

before(async () => {
  if ('skip' in LONG) return
  platform = await startPlatform({ subnet: '127.106.0', environment: { HOWDAH_SPARES: 'on' } })
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

/** System identifiers of the spares of all hosts, once each has one. */
async function spares(): Promise<string[]> {
  const paths = await until('a spare on each host', SPARES_TIMEOUT_MS, async () => {
    const found = await listSpares(platform.home)
    return areMade(found) ? { value: found.flat() } : { seen: JSON.stringify(found) }
  })
  return await Promise.all(paths.map(identifierOf))
}

async function identifierOf(directory: string): Promise<string> {
  const [version = ''] = basename(directory).split('-')
  const program = join(BINARIES, version, 'bin/pg_controldata')
  const { stdout } = await promisify(execFile)(program, ['-D', directory], { env: { LC_ALL: 'C' } })
  return /system identifier: +(\d+)/.exec(stdout)?.[1] ?? ''
}

test('each new cluster takes a spare of its own, and it is replaced', LONG, async () => {
  const taken: string[] = []
  for (const name of ['one', 'two']) {
    const ready = await spares()
    const cluster = await platform.createCluster(name, { instances: 1 })
    const text = 'select system_identifier::text as id from pg_control_system()'
    const [row] = await platform.sql<{ id: string }>({ cluster }, text)
    assert.ok(ready.includes(row?.id ?? ''), `${row?.id} is none of ${ready.join()}`)
    taken.push(row?.id ?? '')
  }
  assert.notEqual(taken[0], taken[1])
})
