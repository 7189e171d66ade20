// Goal: a new cluster does not wait for initdb where its host has a spare, and no two clusters get
// the same one. Method: a platform that keeps spares, and PostgreSQL's own word of what it is.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { SPARES } from '@howdah/core/spare-directory.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const SPARES_TIMEOUT_MS = 120_000
const BINARIES = '/usr/lib/postgresql'

let platform: TestPlatform

before(async () => {
  platform = await startPlatform({ subnet: '127.106.0', environment: { HOWDAH_SPARES: 'on' } })
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

/** System identifiers of the spares of all hosts, once each has one. */
async function spares(): Promise<string[]> {
  const hosts = join(platform.home, 'hosts')
  const paths = await until('a spare on each host', SPARES_TIMEOUT_MS, async () => {
    const found = await Promise.all(
      (await readdir(hosts)).map(async (host) => {
        const names = await readdir(join(hosts, host, SPARES)).catch(() => [] as string[])
        return names.map((name) => join(hosts, host, SPARES, name))
      }),
    )
    const isMade = (names: string[]) => names.length === 1 && !names[0]?.includes('/making-')
    return found.every(isMade) ? { value: found.flat() } : { seen: JSON.stringify(found) }
  })
  return await Promise.all(paths.map(identifierOf))
}

async function identifierOf(directory: string): Promise<string> {
  const [version = ''] = await readdir(BINARIES)
  const program = join(BINARIES, version, 'bin/pg_controldata')
  const { stdout } = await promisify(execFile)(program, ['-D', directory], { env: { LC_ALL: 'C' } })
  return /system identifier: +(\d+)/.exec(stdout)?.[1] ?? ''
}

test('each new cluster takes a spare of its own, and it is replaced', async () => {
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
