// `howdah psql` and the URI of `howdah uri` reach a real PostgreSQL over verified TLS, with names
// and passwords made of every kind of character.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { on } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { quoteIdentifier, quoteLiteral } from '@howdah/core/names.ts'
import { saveCredentials } from './credentials-file.ts'
import { type FakeApi, makeCertificate, startFakeApi } from './testing/fake-api.ts'
import { runCliProcess } from './testing/run-cli.ts'
import { sampleCluster, sampleEndpoint } from './testing/samples.ts'

const run = promisify(execFile)
const ADDRESS = '127.43.7.1'
const ROLE = `r'"; drop :\\@/?#%&= é数`
const PASSWORD = `p'"$$:\\@/?#%&=+ {}[]<>|^\`~!*()`
const DATABASE = `d'"\\ /?#%&=数`

interface Database {
  directory: string
  port: number
  stop(): Promise<void>
}

let database: Database
let api: FakeApi

before(async () => {
  database = await startPostgres()
  api = await startFakeApi()
  const endpoints = [sampleEndpoint('write', database.port, ADDRESS)]
  const cluster = sampleCluster({ endpoints })
  api.routes.set('GET /v1/clusters/demo', () => ({ body: cluster }))
  const pem = await readFile(join(database.directory, 'tls/ca.crt'), 'utf8')
  api.routes.set('GET /v1/clusters/clu_1/ca', () => ({ body: { pem } }))
  const credentials = { role: ROLE, password: PASSWORD, database: DATABASE }
  await saveCredentials(api.home, cluster, credentials)
})

after(async () => {
  await database?.stop()
  await api?.[Symbol.asyncDispose]()
})

const QUERY =
  'select current_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid()'

test('psql logs in over verified TLS with the kept password', async () => {
  const argv = ['psql', 'demo', '--', '-XAt', '-F', '\n', '-c', QUERY]
  const result = await runCliProcess(argv, { home: api.home })
  assert.equal(result.exitCode, 0, result.stderr)
  assert.deepEqual(result.stdout.trimEnd().split('\n'), [ROLE, DATABASE, 't'])
})

test("psql's arguments need no dashes before them, and its exit code is ours", async () => {
  const failing = await runCliProcess(['psql', 'demo', '-Xqc', 'select 1/0'], { home: api.home })
  assert.equal(failing.exitCode, 1)
  assert.match(failing.stderr, /division by zero/)
  const argv = ['psql', 'demo', '-X', '--set=ON_ERROR_STOP=1']
  const script = await runCliProcess(argv, { home: api.home, stdin: 'select 1/0;\n' })
  assert.equal(script.exitCode, 3)
})

test('the URI says the same to libpq', async () => {
  const { stdout, stderr } = await runCliProcess(['uri', 'demo'], { home: api.home })
  const uri = stdout.trimEnd()
  assert.match(uri, /^postgresql:\/\/[\x21-\x7e]+$/, stderr)
  const env = { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' }
  const reached = await run('psql', [uri, '-XAt', '-F', '\n', '-c', QUERY], { env })
  assert.deepEqual(reached.stdout.trimEnd().split('\n'), [ROLE, DATABASE, 't'])
})

test('an unknown role gets a URI without a password, and a hint how to get one', async () => {
  const result = await runCliProcess(['uri', 'demo', '--role', 'other'], { home: api.home })
  assert.match(result.stdout, /^postgresql:\/\/other@/)
  assert.match(result.stderr, /rotate-password/)
})

async function startPostgres(): Promise<Database> {
  const directory = await mkdtemp('/tmp/howdah-test-')
  const tls = join(directory, 'tls')
  const data = join(directory, 'data')
  await mkdir(tls)
  await makeCertificate(tls, ADDRESS)
  const identity = await serverIdentity()
  await chmod(join(tls, 'tls.key'), 0o600)
  if (identity.uid !== undefined && identity.gid !== undefined) {
    for (const path of [directory, tls, join(tls, 'tls.key')]) {
      await chown(path, identity.uid, identity.gid)
    }
  }
  const binaries = await findBinaries()
  const env = { PATH: '/usr/bin:/bin', HOME: directory, LC_ALL: 'C.UTF-8' }
  const options = { ...identity, env, cwd: directory }
  const initdb = ['-D', data, '-U', 'admin', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']
  await run(
    join(binaries, 'initdb'),
    [...initdb, '--auth-local=trust', '--auth-host=scram-sha-256'],
    options,
  )
  await writeFile(
    join(data, 'pg_hba.conf'),
    'local all admin trust\nhostssl all all all scram-sha-256\n',
  )
  const port = await freePort()
  const settings = {
    listen_addresses: ADDRESS,
    port,
    unix_socket_directories: directory,
    fsync: 'off',
    ssl: 'on',
    ssl_cert_file: join(tls, 'tls.crt'),
    ssl_key_file: join(tls, 'tls.key'),
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const postgres = spawn(join(binaries, 'postgres'), ['-D', data, ...flags], {
    ...options,
    stdio: 'pipe',
  })
  const exited = new Promise((resolve) => postgres.once('exit', resolve))
  await waitReady(postgres.stderr)
  await createRole(directory, port)
  const stop = async () => {
    postgres.kill('SIGINT')
    await exited
    await rm(directory, { recursive: true })
  }
  return { directory, port, stop }
}

async function waitReady(stderr: Readable): Promise<void> {
  let log = ''
  try {
    for await (const [chunk] of on(stderr, 'data', { signal: AbortSignal.timeout(20_000) })) {
      log += chunk
      if (log.includes('ready to accept connections')) break
    }
  } catch (error) {
    throw new Error(`PostgreSQL did not start; it said: ${log}`, { cause: error })
  }
  // Its pipe must not fill up.
  stderr.resume()
}

async function createRole(socketDirectory: string, port: number): Promise<void> {
  const [role, name] = [quoteIdentifier(ROLE), quoteIdentifier(DATABASE)]
  const argv = ['-X', '-h', socketDirectory, '-p', String(port), '-U', 'admin', '-d', 'postgres']
  const statements = [
    `create role ${role} login password ${quoteLiteral(PASSWORD)}`,
    `create database ${name} owner ${role}`,
  ]
  await run('psql', [...argv, ...statements.flatMap((statement) => ['-c', statement])])
}

// PostgreSQL refuses to run as root.
async function serverIdentity(): Promise<{ uid?: number; gid?: number }> {
  if (process.geteuid?.() !== 0) return {}
  const id = async (flag: string) => Number((await run('id', [flag, 'postgres'])).stdout)
  return { uid: await id('-u'), gid: await id('-g') }
}

async function findBinaries(): Promise<string> {
  const majors = await readdir('/usr/lib/postgresql')
  return join('/usr/lib/postgresql', majors.sort().at(-1) ?? '', 'bin')
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, ADDRESS, resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
