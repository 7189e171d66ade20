// Preflight against this machine as it is: real ports, real directories, real programs.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { explainBusyPort } from './check-addresses.ts'
import { platformLayout } from './layout.ts'
import { refuseFailures, runPreflight } from './preflight.ts'

const SUBNET = '127.62.1'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-'))
  await chmod(directory, 0o755)
})
afterEach(() => rm(directory, { recursive: true }))

async function failures(home: string): Promise<Map<string, string>> {
  const results = await runPreflight(platformLayout(home, SUBNET, 4), { isRunning: false })
  const failed = results.filter((result) => result.state === 'fail')
  for (const result of failed) assert.notEqual(result.fix, '', `${result.name} has no fix`)
  return new Map(failed.map((result) => [result.name, result.found]))
}

test('a machine that is ready passes every check', async () => {
  assert.deepEqual(await failures(join(directory, 'home')), new Map())
})

test('a port in use is named with the process that holds it', async () => {
  const server = createServer().listen(2379, `${SUBNET}.2`)
  await once(server, 'listening')
  try {
    const found = await failures(join(directory, 'home'))
    assert.deepEqual([...found.keys()], ['addresses'])
    assert.match(found.get('addresses') ?? '', new RegExp(`2379 is in use by .*${process.pid}`))
  } finally {
    server.close()
  }
})

test('a port that is taken on every address is found', async () => {
  const server = createServer().listen(0, '0.0.0.0')
  await once(server, 'listening')
  try {
    const { port } = server.address() as AddressInfo
    const found = await explainBusyPort(`${SUBNET}.4`, port)
    assert.match(found ?? '', new RegExp(`${port} is in use by .*${process.pid}`))
  } finally {
    server.close()
  }
})

test('every problem of a home is said at once', async () => {
  const long = join(directory, 'with spaces and much too long for the path of a unix socket')
  await mkdir(long)
  await chmod(directory, 0o700)
  const found = await failures(long)
  assert.ok(found.has('home path'))
  if (process.geteuid?.() === 0) assert.match(found.get('home access') ?? '', /cannot pass/)
  const results = await runPreflight(platformLayout(long, SUBNET, 4), { isRunning: false })
  assert.throws(() => refuseFailures(results), /home path: [\s\S]*fix: /)
})

test('preflight leaves nothing behind', async () => {
  const home = join(directory, 'a', 'b')
  await failures(home)
  await assert.rejects(rm(join(directory, 'a')), { code: 'ENOENT' })
})
