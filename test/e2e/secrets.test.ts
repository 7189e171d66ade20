// Proves that no secret is where it must not be. Every secret that a platform made while it was
// used is collected, then searched for in logs, processes, replies, events, readable files and the
// platform database, in every spelling.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { ClusterAccepted } from '@howdah/core/contract/clusters.ts'
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import pg from 'pg'
import { readSealer } from '../../control-plane/src/sealing.ts'
import { openStream } from '../harness/api.ts'
import { type ApiDocument, routesOf } from '../harness/api-schema.ts'
import { dieAlong } from '../harness/crash.ts'
import { connectPlatformDb } from '../harness/inventory.ts'
import { listFiles, needlesFor, readLatin, sampleProcesses } from '../harness/leaks.ts'
import { startPlatform, type TestPlatform } from '../harness/platform.ts'
import { startS3, type TestS3 } from '../harness/s3.ts'
import { superuserSql } from '../harness/superuser-sql.ts'
import { until } from '../harness/until.ts'

const SUBNET = '127.64.0'
const SAMPLE_MS = 50
/**
 * Chosen by a caller; with characters that are written differently in SQL, JSON, URLs and base64.
 */
const GIVEN_PASSWORD = `it's a "given" \\ password+/=`

let platform: TestPlatform
let store: TestS3
let admin: pg.Client
const secrets = new Map<string, string>()
const verifiers = new Map<string, string>()
/**
 * What processes showed while everything below was done, and sessions while a password was changed.
 */
let processes: string[] = []
let statements: string[] = []

before(async () => {
  const sampler = sampleProcesses(SAMPLE_MS)
  platform = await startPlatform({
    subnet: SUBNET,
    hosts: 1,
    environment: { HOWDAH_LOG_LEVEL: 'debug', HOWDAH_ARCHIVE_CHECK_SECONDS: '4' },
  })
  store = await startS3()
  await createEverything()
  processes = sampler.stop()
  await collectStored()
})
after(async () => {
  await admin?.end()
  await platform?.stop()
  await store?.[Symbol.asyncDispose]()
})

function keep(name: string, secret: string | undefined): string {
  assert.ok(secret, `${name} is missing`)
  secrets.set(name, secret)
  return secret
}

async function howdah(...args: string[]): Promise<string> {
  return await type('', ...args)
}

async function type(input: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await platform.howdah(args, { timeoutMs: 180_000, input })
  assert.equal(code, 0, `howdah ${args.join(' ')}: ${stderr}`)
  return stdout
}

type Printed = { credentials?: { password: string } }

/** Everything that makes or moves a secret, with PostgreSQL as talkative as a user can make it. */
async function createEverything(): Promise<void> {
  const loud = { log_statement: 'all', log_min_duration_statement: 0, log_connections: true }
  const cluster = await platform.createCluster('demo', { instances: 1, parameters: loud })
  keep('password of app', cluster.credentials.password)
  admin = new pg.Client({
    host: join(platform.home, 'hosts/host-1/run'),
    port: cluster.cluster.instances[0]?.port ?? 0,
    user: 'postgres',
    database: 'postgres',
  })
  await admin.connect()
  const path = '/v1/clusters/demo/roles'
  const create = ['role', 'create', 'demo', 'printed', '--database', 'app', '--access', 'read']
  const printed = JSON.parse(await howdah(...create, '-o', 'json')) as Printed
  keep('password of printed', printed.credentials?.password)
  const given = { name: 'given', password: GIVEN_PASSWORD, access: 'read', database: 'app' }
  const { body } = await platform.api<{ operation: { id: string } }>('POST', path, given)
  await platform.waitOperation(body.operation.id, 60_000)
  keep('password that a caller gave', GIVEN_PASSWORD)
  const rotate = ['role', 'rotate-password', 'demo', 'printed', '-o', 'json']
  keep(
    'password after rotation',
    (JSON.parse(await howdah(...rotate)) as Printed).credentials?.password,
  )
  const secretKey = await addStore()
  const far = ['--instances', '1', '--repository', 'far']
  const second = ['cluster', 'create', 'second', ...far, '-o', 'json']
  keep(
    'password in the second',
    (JSON.parse(await howdah(...second)) as Printed).credentials?.password,
  )
  // For as long as a busy machine may keep us from looking.
  await howdah('psql', 'second', '--', '-c', 'select pg_sleep(3)')
  await createTokens()
  // Without one there is a route of which nothing is known.
  await firstBackup('demo')
  await useStore(secretKey)
  statements = await statementsOfRotation(`${path}/given/rotate-password`)
}

/** It begins by itself; nothing of it runs any more. */
async function firstBackup(name: string): Promise<Backup> {
  return await until(`the first backup of ${name}`, 180_000, async () => {
    const path = `/v1/operations?cluster=${name}&limit=100`
    const { body: operations } = await platform.api<{ data: Operation[] }>('GET', path)
    const made = operations.data.find(({ kind }) => kind === 'create-backup')
    const { body } = await platform.api<{ data: Backup[] }>('GET', `/v1/clusters/${name}/backups`)
    const [first] = body.data
    const isMade = made?.state === 'succeeded' && first !== undefined
    return isMade ? { value: first } : { seen: made?.state ?? 'none' }
  })
}

/** As stores make them. */
function secretKeyFor(key: string): string {
  const secret = keep(`secret of ${key}`, randomBytes(30).toString('base64'))
  store.addKey(key, secret)
  return secret
}

/** Returns the secret that it is to be changed to. */
async function addStore(): Promise<string> {
  const file = join(platform.home, 'store.pem')
  await writeFile(file, store.caPem, { mode: 0o600 })
  const { endpoint, port, bucket } = store
  const place = ['--endpoint', endpoint, '--port', String(port), '--bucket', bucket]
  const reached = ['--uri-style', 'path', '--allow-private', '--ca-file', file]
  await type(secretKeyFor('first'), 'repo', 'add', 'far', ...place, ...reached, '--key', 'first')
  return secretKeyFor('second')
}

/** All that reads there, with a death in the middle; then keys that are refused. */
async function useStore(secretKey: string): Promise<void> {
  const { label } = await firstBackup('second')
  await howdah('drill', 'restore', 'second')
  const { reply, operation } = await dieAlong<ClusterAccepted>(
    platform,
    ['fork-cluster/replay:before'],
    { method: 'POST', path: '/v1/clusters/second/fork', body: { name: 'twin', instances: 1 } },
    120_000,
  )
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  keep('password of a fork', reply.credentials?.password)
  await howdah('restore', 'second', '--backup', label, '--confirm', 'second')
  await type(secretKey, 'repo', 'update', 'far', '--key', 'second')
  const refused = ['repo', 'update', 'far', '--key', 'nobody']
  const input = keep('secret that was refused', randomBytes(30).toString('base64'))
  assert.notEqual((await platform.howdah(refused, { input })).code, 0)
  for (const key of ['first', 'second']) store.revokeKey(key)
  await superuserSql(platform, 'second', "select pg_create_restore_point('x'), pg_switch_wal()")
  await until('archiving to be refused', 60_000, async () => {
    const { body } = await platform.api<{ data: Event[] }>('GET', '/v1/events?limit=1000')
    const kinds = body.data.map(({ kind }) => kind)
    return kinds.includes('archive.failing') ? { value: true } : { seen: `${kinds.length} events` }
  })
}

/** What sessions show while a password is changed; a lock holds the change up until it was seen. */
async function statementsOfRotation(path: string): Promise<string[]> {
  await admin.query('begin; lock table pg_catalog.pg_authid in share mode')
  const rotated = await platform.api<Printed & { operation: { id: string } }>('POST', path)
  keep('password after the second rotation', rotated.body.credentials?.password)
  const shown = await until('the change of the password to be seen', 30_000, async () => {
    // Within a transaction PostgreSQL shows the first look again and again.
    await admin.query('select pg_stat_clear_snapshot()')
    const { rows } = await admin.query<{ query: string }>('select query from pg_stat_activity')
    const texts = rows.map(({ query }) => query)
    return texts.some((text) => /alter role/i.test(text))
      ? { value: texts }
      : { seen: texts.join() }
  })
  await admin.query('commit')
  const ended = await platform.waitOperation(rotated.body.operation.id, 60_000)
  assert.equal(ended.state, 'succeeded')
  return shown
}

async function createTokens(): Promise<void> {
  keep('first token', platform.token)
  await platform.api('POST', '/v1/users', { name: 'reader', role: 'viewer' })
  const token = await platform.api<{ token: string }>('POST', '/v1/users/reader/tokens', {
    name: 't',
  })
  keep('token of a user', token.body.token)
  await platform.api('POST', '/v1/hosts', { name: 'late', address: `${SUBNET}.55` })
  const enrolment = await platform.api<{ token: string }>('POST', '/v1/hosts/late/enrolment-token')
  keep('enrolment token', enrolment.body.token.split('.')[1])
  const key = { 'idempotency-key': 'once' }
  const replayed = await platform.api<Printed & { operation: { id: string } }>(
    'POST',
    '/v1/clusters/demo/roles/printed/rotate-password',
    undefined,
    key,
  )
  keep('password in a stored reply', replayed.body.credentials?.password)
  await platform.waitOperation(replayed.body.operation.id, 60_000)
}

/** The id of a store's key is an argument of commands, and stands in the store's own answers. */
const PUBLIC_SECRETS = /certificate$|^key$/

/**
 * What lies sealed or in protected files: keys, and every password that the platform made for
 * itself.
 */
async function collectStored(): Promise<void> {
  const masterKeyFile = join(platform.home, 'platform/master.key')
  const sealer = await readSealer(masterKeyFile)
  keep('master key', (await readFile(masterKeyFile, 'utf8')).trim())
  const db = await connectPlatformDb(platform)
  const { rows } = await db.query<{ owner: string; name: string; sealed: Buffer }>(
    'select owner, name, sealed from secret',
  )
  await db.end()
  for (const { owner, name, sealed } of rows.filter((row) => !PUBLIC_SECRETS.test(row.name))) {
    keep(`${name} of ${owner}`, sealer.open(`secret:${owner}:${name}`, sealed))
  }
  const identityFile = join(platform.home, 'hosts/host-1/agent/identity.json')
  const identity = JSON.parse(await readFile(identityFile, 'utf8')) as { privateKeyPem: string }
  keep('key of an agent', identity.privateKeyPem)
  const roles = await admin.query<{ name: string; verifier: string }>(
    "select rolname as name, rolpassword as verifier from pg_authid where rolpassword <> ''",
  )
  for (const { name, verifier } of roles.rows) {
    verifiers.set(`verifier of ${name}`, verifier.split('$').at(-1) ?? '')
  }
  assert.ok(secrets.size > 20 && verifiers.size > 4, `${secrets.size} and ${verifiers.size}`)
}

const all = () => needlesFor(new Map([...secrets, ...verifiers]))

/** `where: secrets` for each text that holds any. */
function findings(texts: Iterable<readonly [string, string]>, needles = all()): string[] {
  return [...texts].flatMap(([where, text]) => {
    const found = needles.findIn(text)
    return found.length === 0 ? [] : [`${where}: ${found.join(', ')}`]
  })
}

test('the search finds secrets where they belong: it can fail', () => {
  const needles = all()
  const cli = needles.findIn(readLatin(join(platform.home, 'cli.json')))
  assert.deepEqual(cli, ['first token'])
  const configuration = listFiles(join(platform.home, 'hosts/host-1/config'))
    .filter(({ path }) => path.endsWith('patroni.yml'))
    .map(({ path }) => needles.findIn(readLatin(path)).length)
  assert.equal(configuration.length, 3)
  assert.ok(configuration.every((count) => count >= 5))
  const archiving = listFiles(join(platform.home, 'hosts/host-1/config'))
    .filter(({ path }) => path.endsWith('pgbackrest.conf'))
    .flatMap(({ path }) => needles.findIn(readLatin(path)))
  assert.equal(archiving.filter((name) => name.startsWith('cipher of ')).length, 3)
  assert.equal(archiving.filter((name) => /^secret of (?:second|rep_)/.test(name)).length, 2)
  const name = 'password after rotation'
  const secret = secrets.get(name) as string
  for (const text of [
    Buffer.from(`x${secret}y`).toString('base64'),
    Buffer.from(`xx${secret}yy`).toString('base64'),
    Buffer.from(secret).toString('hex'),
    JSON.stringify({ a: JSON.stringify({ b: secret }) }),
  ]) {
    assert.deepEqual(needles.findIn(text), [name])
  }
  assert.deepEqual(needles.findIn(JSON.stringify(GIVEN_PASSWORD)), ['password that a caller gave'])
})

test('no log holds a secret, not even PostgreSQL’s own that writes every statement', () => {
  const logs = listFiles(platform.home).filter(
    ({ path }) => /\/log\//.test(path) && !/\/pgdata\//.test(path),
  )
  const texts = logs.map(({ path }) => [path, readLatin(path)] as const)
  const postgres = texts.filter(([path]) => path.includes('/patroni-'))
  assert.ok(
    postgres.some(([, text]) => /LOG: {2}statement: /.test(text)),
    'PostgreSQL was not talkative',
  )
  assert.ok(
    postgres.some(([, text]) => /ERROR: \[\d{3}\].*archive|InvalidAccessKeyId/.test(text)),
    'the program that archives was not talkative',
  )
  assert.ok(
    texts.some(([, text]) => text.includes('"level":20')),
    'the platform was not talkative',
  )
  assert.deepEqual(findings(texts), [])
})

test('no process shows a secret in its arguments or environment', () => {
  assert.ok(
    processes.some((text) => text.includes('patroni.yml')),
    'no Patroni was seen',
  )
  assert.ok(
    processes.some((text) => /pgbackrest\0.*\0restore\0/.test(text)),
    'no restore was seen',
  )
  assert.ok(
    processes.some((text) => /(?:^|\/)psql\0/.test(text)),
    'no psql was seen',
  )
  assert.ok(
    processes.some((text) => text.includes('PGPASSFILE')),
    'no environment was seen',
  )
  // Not the text itself: it would be in the report.
  const texts = processes.map(
    (text) => [text.slice(0, text.indexOf('\0')).slice(0, 40), text] as const,
  )
  assert.deepEqual(findings(texts), [])
})

test('no session shows a password while it is changed', () => {
  // The verifier must stand in the statement; only a superuser sees it there.
  const texts = [...statements].map((text) => [text.slice(0, 30), text] as const)
  assert.deepEqual(findings(texts, needlesFor(secrets)), [])
})

/** The path with each of its parameters filled in from the list that it stands behind. */
async function fillIn(path: string): Promise<string[]> {
  const at = path.indexOf('/{')
  if (at < 0) return [path]
  const list = path.slice(0, at)
  const rest = path.slice(path.indexOf('}', at) + 1)
  const { body } = await platform.api<{ data: { id?: string; name: string }[] }>(
    'GET',
    `${list}?limit=200`,
  )
  const filled = body.data.map((item) => fillIn(`${list}/${item.id ?? item.name}${rest}`))
  return (await Promise.all(filled)).flat()
}

test('no reply repeats a secret: every GET route, of every thing', async () => {
  const { body: document } = await platform.api<ApiDocument>('GET', '/openapi.json')
  const replies: [string, string][] = []
  const reads = routesOf(document).filter(
    ({ method, path }) => method === 'GET' && !/stream$/.test(path),
  )
  for (const { path } of reads) {
    const paths = await fillIn(path)
    assert.ok(paths.length > 0, `nothing is known for ${path}`)
    for (const filled of paths) {
      const query = path === '/v1/events' ? '?limit=1000' : ''
      const reply = await platform.api('GET', `${filled}${query}`)
      assert.equal(reply.status, 200, `${filled} ${JSON.stringify(reply.body)}`)
      replies.push([filled, JSON.stringify([reply.headers, reply.body])])
    }
  }
  assert.ok(replies.length > 30, String(replies.length))
  assert.deepEqual(findings(replies), [])
})

test('the stream of events holds no secret', async () => {
  const { body } = await platform.api<{ last_id: string }>('GET', '/v1/events?limit=1000')
  const stream = await openStream(platform.connection, '/v1/events/stream', '0')
  let text = ''
  stream.on('data', (chunk: string) => {
    text += chunk
  })
  await until('the newest event', 20_000, () =>
    text.includes(`id: ${body.last_id}\n`) ? { value: true } : { seen: text.slice(-200) },
  )
  stream.destroy()
  assert.deepEqual(findings([['stream', text]]), [])
})

test('what holds a secret is readable by its owner alone', () => {
  const needles = all()
  const files = listFiles(platform.home)
  const open = files.filter(({ exposed }) => exposed)
  assert.deepEqual(
    findings(
      open.map(({ path }) => [path, readLatin(path)] as const),
      needles,
    ),
    [],
  )
  // Data directories and backups of them, whatever they hold at the moment.
  const inData = open.filter(
    ({ path }) => /\/(pgdata|pg|etcd)\//.test(path) && !/\/(log|config|services)\//.test(path),
  )
  assert.deepEqual(inData, [])
  const named =
    /(?:\.key|\.pem|token|(?:cli|identity|spec)\.json|pgpass|userlist\.txt|patroni\.yml|rest.conf)$/
  const widened = files.filter(
    ({ path, mode }) =>
      (mode & 0o077) !== 0 && named.test(path) && !/\/ca\.pem$|\/clusters\/.*\.pem$/.test(path),
  )
  assert.deepEqual(widened, [])
})

test('a dump of the platform database holds secrets only sealed', async () => {
  const argv = ['-h', join(platform.home, 'platform/run'), '-U', 'howdah', '--inserts', 'howdah']
  const { stdout } = await promisify(execFile)('pg_dump', argv, { maxBuffer: 256 * 1024 * 1024 })
  assert.match(stdout, /INSERT INTO public\.secret/)
  assert.match(stdout, /INSERT INTO dbos\./)
  assert.match(stdout, /INSERT INTO public\.idempotency/)
  assert.deepEqual(findings([['dump', stdout]]), [])
})
