// Proves that text from outside stays text: names, passwords, parameters and labels go through the
// real API into rendered files, Patroni, PgBouncer and PostgreSQL, and are found again as they
// were, or were refused at the door. A longer run: npm run hostile -- --runs 500 --seed 7.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import https from 'node:https'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { parseArgs, promisify } from 'node:util'
import { PARAMETER_RULES, parseParameter } from '@howdah/core/parameters.ts'
import fc from 'fast-check'
import pg from 'pg'
import { HOSTILE_PIECES, hostileText } from '../../control-plane/src/testing/hostile-text.ts'
import { judgeReply } from '../harness/api-verdict.ts'
import { connect, sql, type TestCluster } from '../harness/cluster.ts'
import { LONG } from '../harness/long.ts'
import { startPlatform, type TestPlatform } from '../harness/platform.ts'
import { requestRaw } from '../harness/raw-request.ts'
import { startS3 } from '../harness/s3.ts'
import { until } from '../harness/until.ts'

const { values: options } = parseArgs({
  options: { runs: { type: 'string' }, seed: { type: 'string' } },
  strict: false,
})
/** Of what takes seconds each; what is refused at the door is tried ten times as often. */
const RUNS = Number(options['runs'] ?? ('skip' in LONG ? 4 : 8))
const SEED = Number(options['seed'] ?? 20_250_708)
const SUBNET = '127.64.0'
const OPERATION_TIMEOUT_MS = 180_000
const RENDER_TIMEOUT_MS = 60_000
/** A file that only an executed command would make; short, to fit into a name of 63 bytes. */
const CANARY = `/tmp/hc${process.pid}`

const EXECUTING: readonly string[] = [
  `$(touch ${CANARY})`,
  `\`touch ${CANARY}\``,
  `;touch ${CANARY};`,
  `| touch ${CANARY}`,
  `'; copy (select 1) to program 'touch ${CANARY}'--`,
  `"; copy (select 1) to program 'touch ${CANARY}'--`,
  `!!python/object/apply:os.system ["touch ${CANARY}"]`,
  `\n%include ${CANARY}\n`,
  `x' "touch ${CANARY}" y`,
]

interface Reply {
  status: number
  body: Record<string, unknown>
}

let platform: TestPlatform
let cluster: TestCluster
const agent = new https.Agent({ keepAlive: true })

before(async () => {
  platform = await startPlatform({ subnet: SUBNET, hosts: 1 })
  cluster = await platform.createCluster('demo', { instances: 1 })
})
after(async () => {
  agent.destroy()
  await platform?.stop()
  await rm(CANARY, { force: true })
})

/** The path is sent as it is: a URL object would take a role that is named `..` for a step up. */
async function call(
  method: string,
  path: string,
  body?: unknown,
  ifMatch?: string,
): Promise<Reply> {
  const headers = {
    authorization: `Bearer ${platform.token}`,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
  }
  const text = body === undefined ? undefined : JSON.stringify(body)
  const request = { method, path, headers, body: text }
  const reply = await requestRaw(platform.connection.api, request, agent)
  const wrong = judgeReply(reply, undefined, [platform.home])
  assert.deepEqual(wrong, [], `${method} ${path} ${text}: ${reply.text.slice(0, 500)}`)
  return { status: reply.status, body: JSON.parse(reply.text || '{}') as Record<string, unknown> }
}

/** The state in which the accepted operation ended, with the code of its error. */
async function outcome(reply: Reply): Promise<string> {
  const { id } = reply.body['operation'] as { id: string }
  const ended = await platform.waitOperation(id, OPERATION_TIMEOUT_MS)
  return ended.error === null
    ? ended.state
    : `${ended.state} ${ended.error.code}: ${ended.error.detail}`
}

async function succeeds(reply: Reply): Promise<void> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  assert.equal(await outcome(reply), 'succeeded')
}

/**
 * As the agent does it: PostgreSQL knows us by our operating system user. A session per question,
 * as a change of a parameter may restart PostgreSQL.
 */
async function ask<Row extends pg.QueryResultRow>(query: string, params: unknown[] = []) {
  const client = new pg.Client({
    host: join(platform.home, 'hosts/host-1/run'),
    port: cluster.cluster.instances[0]?.port ?? 0,
    user: 'postgres',
    database: 'postgres',
  })
  await client.connect()
  try {
    return await client.query<Row>(query, params)
  } finally {
    await client.end()
  }
}

async function column(query: string): Promise<string[]> {
  const { rows } = await ask<{ name: string }>(query)
  return rows.map(({ name }) => name)
}
const roleNames = () => column('select rolname as name from pg_roles order by oid')
const databaseNames = () => column('select datname as name from pg_database order by oid')

async function apiNames(kind: 'roles' | 'databases'): Promise<string[]> {
  const { body } = await call('GET', `/v1/clusters/demo/${kind}`)
  return (body['data'] as { name: string }[]).map(({ name }) => name).sort()
}

const pieces = [...HOSTILE_PIECES, ...EXECUTING]
const anyName = fc.oneof(
  { arbitrary: fc.constantFrom(...EXECUTING), weight: 2 },
  { arbitrary: hostileText(63), weight: 4 },
  {
    arbitrary: fc.constantFrom('a'.repeat(63), 'é'.repeat(31), '🐘'.repeat(15), '..', '.'),
    weight: 1,
  },
)
const impossibleName = fc.oneof(
  fc.constantFrom(
    '',
    '\0',
    '\ud800',
    'a\0b',
    'x\udfff',
    'a'.repeat(64),
    'é'.repeat(32),
    '🐘'.repeat(16),
  ),
  fc.constantFrom('postgres', 'pg_x', 'pg_\nx', 'howdah_probe', 'HOWDAH_\u2028', 'public', 'none'),
  hostileText(63).map((text) => `${text}\0`),
  hostileText(200).filter((text) => Buffer.byteLength(text) > 63),
)
const goodPassword = fc.oneof(
  fc.stringMatching(/^[ -~]{12,128}$/),
  fc.constantFrom(`' or 1=1; -- "$(x)`, '{SCRAM-SHA-256}$4096', '%00%20 = # ; [x]', ' '.repeat(12)),
)

async function logIn(user: string, password: string, database: string) {
  const query = 'select session_user::text as user, current_database()::text as database'
  const rows = await sql<{ user: string; database: string }>(
    { cluster, user, password, database },
    query,
  )
  assert.deepEqual(rows, [{ user, database }])
}

const rolePath = (name: string) => `/v1/clusters/demo/roles/${encodeURIComponent(name)}`
const databasePath = (name: string) => `/v1/clusters/demo/databases/${encodeURIComponent(name)}`

test(`a role and its database live under any name and password (seed ${SEED})`, async () => {
  await fc.assert(
    fc.asyncProperty(anyName, anyName, goodPassword, async (role, database, password) => {
      const roles = await roleNames()
      const databases = await databaseNames()
      fc.pre(
        !roles.includes(role) && !/^(pg_|howdah_)/i.test(role) && !databases.includes(database),
      )

      const wanted = { name: role, password, access: 'read', database: 'app' }
      const created = await call('POST', '/v1/clusters/demo/roles', wanted)
      await succeeds(created)
      assert.equal(created.body['credentials'], undefined, 'a password that was given is repeated')
      assert.deepEqual(await roleNames(), [...roles, role])
      assert.ok((await apiNames('roles')).includes(role))
      const { rows } = await ask(
        `select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as strong
         from pg_roles where rolname = $1`,
        [role],
      )
      assert.deepEqual(rows, [{ strong: false }])
      await logIn(role, password, 'app')

      const owned = { name: database, owner: role }
      await succeeds(await call('POST', '/v1/clusters/demo/databases', owned))
      assert.deepEqual(await databaseNames(), [...databases, database])
      assert.ok((await apiNames('databases')).includes(database))
      await logIn(role, password, database)

      const rotated = await call('POST', `${rolePath(role)}/rotate-password`)
      await succeeds(rotated)
      const fresh = rotated.body['credentials'] as { password: string }
      await logIn(role, fresh.password, database)
      await assert.rejects(logIn(role, password, 'app'), /password authentication|SASL/)

      await succeeds(await call('DELETE', databasePath(database)))
      await succeeds(await call('DELETE', rolePath(role)))
      assert.deepEqual([await roleNames(), await databaseNames()], [roles, databases])
    }),
    { seed: SEED, numRuns: RUNS, endOnFailure: true },
  )
})

test('an impossible name or password is refused, and changes nothing', async () => {
  const before = [await roleNames(), await databaseNames()]
  const badPassword = fc.oneof(
    fc.constantFrom('', 'short', 'a'.repeat(129), 'a'.repeat(2000), 'tab\tin the middle'),
    fc.constantFrom('pässwörd-with-umlauts', 'line\nbreak in the middle', 'nul\0 in the middle'),
  )
  await fc.assert(
    fc.asyncProperty(impossibleName, badPassword, async (name, password) => {
      const roles = '/v1/clusters/demo/roles'
      const databases = '/v1/clusters/demo/databases'
      const attempts = [
        await call('POST', roles, { name }),
        await call('POST', roles, { name: 'fine', password }),
        await call('POST', databases, { name: 'fine', owner: name }),
      ]
      // These are names of roles; a database may have them.
      if (!/^(pg_|howdah_|public|none)/i.test(name)) {
        attempts.push(await call('POST', databases, { name }))
      }
      for (const { status } of attempts) assert.ok(status === 400 || status === 422, String(status))
    }),
    { seed: SEED, numRuns: RUNS * 10 },
  )
  assert.deepEqual([await roleNames(), await databaseNames()], before)
})

test('a database for an owner that is not there fails and leaves nothing', async () => {
  const before = [await roleNames(), await databaseNames()]
  for (const owner of EXECUTING.slice(0, 4)) {
    const reply = await call('POST', '/v1/clusters/demo/databases', { name: 'fine', owner })
    assert.match(await outcome(reply), /^failed not-found/)
  }
  assert.deepEqual([await roleNames(), await databaseNames()], before)
})

/** What Patroni wrote for PostgreSQL: the whole structure that a hostile value could change. */
async function fileSettings(): Promise<Map<string, string>> {
  const { rows } = await ask<{ name: string; setting: string; error: string | null }>(
    'select lower(name) as name, setting, error from pg_file_settings order by seqno',
  )
  const refused = rows.filter(({ error, name }) => error !== null && !isRestart(name))
  assert.deepEqual(refused, [])
  return new Map(rows.map(({ name, setting }) => [name, setting]))
}
const isRestart = (name: string) => PARAMETER_RULES[name]?.restart === true

const PATRONI_TREE =
  'import sys, json, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)'

/** patroni.yml as Patroni's own parser reads it. */
async function patroniTree(): Promise<Record<string, unknown>> {
  const [path] = globSync(join(platform.home, 'hosts/host-1/config/ins_*/patroni.yml'))
  const { stdout } = await promisify(execFile)('/usr/bin/python3', ['-c', PATRONI_TREE, path ?? ''])
  return JSON.parse(stdout) as Record<string, unknown>
}

const parameterName = fc.oneof(
  { arbitrary: fc.constantFrom(...Object.keys(PARAMETER_RULES)), weight: 3 },
  {
    arbitrary: fc.constantFrom(
      ...['archive_command', 'shared_preload_libraries', 'ssl_passphrase_command', 'hba_file'],
      ...['__proto__', 'constructor', 'work_mem ', 'Work_Mem', 'work_mem\nssl', "work_mem'", 'a.b'],
    ),
    weight: 1,
  },
  { arbitrary: hostileText(63), weight: 1 },
)
const parameterValue = fc.oneof(
  fc.constantFrom(...pieces),
  hostileText(100),
  fc.constantFrom('64MB', '1', 'on', 'UTC').chain((good) => {
    return fc.constantFrom(...pieces).map((piece) => `${good}${piece}`)
  }),
)

function isAccepted(name: string, value: string): boolean {
  try {
    parseParameter(name, value)
    return true
  } catch {
    return false
  }
}

test('a parameter that is not exactly one is refused, and changes nothing', async () => {
  const settings = await fileSettings()
  const { body: seen } = await call('GET', '/v1/clusters/demo')
  await fc.assert(
    fc.asyncProperty(parameterName, parameterValue, async (name, value) => {
      fc.pre(!isAccepted(name, value))
      // As text, because an object literal would swallow __proto__.
      const parameters = JSON.parse(`{${JSON.stringify(name)}: ${JSON.stringify(value)}}`) as object
      const reply = await call('PATCH', '/v1/clusters/demo', { parameters }, '*')
      assert.ok(reply.status === 400 || reply.status === 422, JSON.stringify(reply))
    }),
    { seed: SEED, numRuns: RUNS * 20 },
  )
  const { body: now } = await call('GET', '/v1/clusters/demo')
  assert.deepEqual(now['spec'], seen['spec'])
  assert.equal(now['version'], seen['version'])
  assert.deepEqual(await fileSettings(), settings)
})

const goodParameters = fc
  .record(
    {
      work_mem: fc.integer({ min: 64, max: 4096 }).map((amount) => `${amount}kB`),
      statement_timeout: fc.integer({ min: 0, max: 86_400 }).map((amount) => `${amount}s`),
      random_page_cost: fc.integer({ min: 0, max: 100 }).map((amount) => amount / 10),
      jit: fc.boolean(),
      timezone: fc.constantFrom('UTC', 'Asia/Ho_Chi_Minh', 'America/Argentina/Buenos_Aires'),
      datestyle: fc.constantFrom('ISO', 'ISO, DMY', 'ISO,YMD'),
      default_transaction_isolation: fc.constantFrom('read committed', 'Repeatable Read'),
      max_connections: fc.integer({ min: 60, max: 200 }),
    },
    { requiredKeys: [] },
  )
  // Drawn without a prototype, which no comparison expects.
  .map((drawn) => ({ ...drawn }) as Record<string, string | number | boolean>)

const hostileLabels = fc.dictionary(
  fc.oneof(fc.constantFrom(...pieces), hostileText(63)).filter((key) => !isPoison(key)),
  fc.oneof(fc.constantFrom(...pieces), hostileText(255)),
  { minKeys: 1, maxKeys: 32 },
)
const isPoison = (key: string) => key === '__proto__' || key === 'constructor' || key.length > 63

test('parameters and labels that are accepted are found exactly, and nothing else is', async () => {
  const baseline = await fileSettings()
  const tree = await patroniTree()
  await fc.assert(
    fc.asyncProperty(goodParameters, hostileLabels, async (parameters, labels) => {
      const change = { parameters, labels }
      const reply = await call('PATCH', '/v1/clusters/demo', change, '*')
      await succeeds(reply)
      const { body } = await call('GET', '/v1/clusters/demo')
      const spec = body['spec'] as { labels: object; parameters: object }
      const wanted = Object.entries(parameters).map(
        ([name, value]) => [name, parseParameter(name, value)] as const,
      )
      assert.deepEqual(spec.labels, { ...labels })
      assert.deepEqual(spec.parameters, Object.fromEntries(wanted))
      const expected = new Map([...baseline, ...wanted])
      const shown = [...(await fileSettings())].sort()
      assert.deepEqual(shown, [...expected].sort())
    }),
    { seed: SEED, numRuns: Math.ceil(RUNS / 2), endOnFailure: true },
  )
  const none = { parameters: {}, labels: {} }
  await succeeds(await call('PATCH', '/v1/clusters/demo', none, '*'))
  assert.deepEqual(await fileSettings(), baseline)
  // The agent renders it when it has heard of the change; no operation waits for that.
  await until('Patroni to be told the same as before', RENDER_TIMEOUT_MS, async () => {
    assert.deepEqual(await patroniTree(), tree)
    return { value: true }
  })
})

test('no setting for applications keeps the platform or a login from working', async () => {
  const parameters = {
    ...{ statement_timeout: '1ms', lock_timeout: '1ms', deadlock_timeout: '1ms' },
    ...{ idle_session_timeout: '1ms', idle_in_transaction_session_timeout: '1ms' },
    ...{ client_min_messages: 'debug1', default_transaction_isolation: 'serializable' },
    ...{ log_statement: 'all', log_min_duration_statement: 0, datestyle: 'ISO, DMY' },
  }
  await succeeds(await call('PATCH', '/v1/clusters/demo', { parameters }, '*'))
  const password = 'a password of its own'
  const wanted = { name: 'late', password, access: 'read', database: 'app' }
  await succeeds(await call('POST', '/v1/clusters/demo/roles', wanted))
  const session = await connect({ cluster, user: 'late', password, database: 'app' })
  await session.end()
  await succeeds(await call('DELETE', rolePath('late')))
  await succeeds(await call('PATCH', '/v1/clusters/demo', { parameters: {} }, '*'))
})

test('parameters with which PostgreSQL could not start again are refused', async () => {
  const impossible = [
    { shared_buffers: '4TB' },
    { max_connections: 10_000, max_locks_per_transaction: 100_000 },
    { max_connections: 10_000, track_activity_query_size: 1_048_576 },
    { timezone: 'Asia/Nowhere' },
  ]
  for (const parameters of impossible) {
    const changed = await call('PATCH', '/v1/clusters/demo', { parameters }, '*')
    assert.equal(changed.status, 422, JSON.stringify(parameters))
    const created = await call('POST', '/v1/clusters', { name: 'never', instances: 1, parameters })
    assert.equal(created.status, 422, JSON.stringify(parameters))
  }
})

test('clusters, hosts and users with hostile names are refused, and nothing is made', async () => {
  const count = async () => {
    const lists = ['clusters', 'hosts', 'users'].map((kind) => call('GET', `/v1/${kind}?limit=200`))
    return (await Promise.all(lists)).map(({ body }) => (body['data'] as unknown[]).length)
  }
  const before = await count()
  const name = fc
    .oneof(fc.constantFrom(...pieces), hostileText(40), impossibleName)
    .filter((text) => !/^[a-z0-9]/.test(text) || /[^a-z0-9._@+-]/.test(text))
  await fc.assert(
    fc.asyncProperty(name, async (text) => {
      const attempts = [
        await call('POST', '/v1/clusters', { name: text, instances: 1 }),
        await call('POST', '/v1/clusters', { name: 'fine', postgres_version: text }),
        await call('POST', '/v1/hosts', { name: text, address: `${SUBNET}.66` }),
        await call('POST', '/v1/users', { name: text, role: 'viewer' }),
        await call('POST', '/v1/users', { name: 'fine', role: text }),
      ]
      for (const { status } of attempts) assert.equal(status, 400)
    }),
    { seed: SEED, numRuns: RUNS * 10 },
  )
  assert.deepEqual(await count(), before)
})

const hostile = fc.oneof(fc.constantFrom(...pieces), hostileText(64))
/** Nothing that any name or address of a repository may hold. */
const strange = hostile.filter((text) => /[^A-Za-z0-9._/-]/.test(text))
const unprintable = hostile.filter((text) => /[^!-~]/.test(text))
const S3_FIELDS = ['name', 'endpoint', 'bucket', 'region', 'prefix', 'uri_style', 'ca_pem'] as const

test('a repository with hostile settings is refused, and nothing is made', async () => {
  // Whoever may see them sees where they are: `call` would take that for a leak.
  const names = async () => {
    const { body } = await platform.api<{ data: { name: string }[] }>('GET', '/v1/repositories')
    return body.data.map(({ name }) => name)
  }
  assert.deepEqual(await names(), ['local'])
  const place = { endpoint: 'localhost', bucket: 'fine', key: 'key', secret: 'secret' }
  const fine = { name: 'fine', kind: 's3', ...place, allow_private: true, port: 1 }
  const below = { name: 'fine', kind: 'directory' }
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...S3_FIELDS),
      strange,
      unprintable,
      async (field, ...texts) => {
        const [text, secret] = texts
        const update = '/v1/repositories/local'
        const attempts = [
          await call('POST', '/v1/repositories', { ...fine, [field]: text }),
          await call('POST', '/v1/repositories', { ...fine, key: secret }),
          await call('POST', '/v1/repositories', { ...fine, secret }),
          await call('POST', '/v1/repositories', { ...below, path: `/tmp/${text}` }),
          await call('PATCH', update, { key: secret }, '*'),
          await call('PATCH', update, { ca_pem: `-----BEGIN CERTIFICATE-----${text}"` }, '*'),
          await call('POST', '/v1/clusters', { name: 'fine', repository: text }),
        ]
        for (const { status } of attempts)
          assert.ok(status === 400 || status === 404, String(status))
      },
    ),
    { seed: SEED, numRuns: RUNS * 10 },
  )
  for (const path of ['/tmp/../tmp', '/', '//tmp', '/tmp/', '/tmp/.', 'tmp', '/a'.repeat(101)]) {
    assert.equal((await call('POST', '/v1/repositories', { ...below, path })).status, 400, path)
  }
  assert.deepEqual(await names(), ['local'])
})

test('keys of a store reach it as they are, whatever they hold', async () => {
  await using store = await startS3()
  const key = `$(id)'"#;[global]%p\\`
  store.addKey(key, 'unchecked')
  const { endpoint, port, bucket, caPem } = store
  const place = { endpoint, port, bucket, ca_pem: caPem, uri_style: 'path', allow_private: true }
  const secret = `'";touch$\u007bIFS}${CANARY};\`touch$\u007bIFS}${CANARY}\`#[global:x]%p`
  const wanted = { name: 'far', kind: 's3', ...place, key, secret }
  const added = await call('POST', '/v1/repositories', wanted)
  assert.equal(added.status, 201, JSON.stringify(added.body))
  assert.equal((await call('DELETE', '/v1/repositories/far')).status, 204)
})

test('moments, backups and policies of hostile text are refused and change nothing', async () => {
  const at = '/v1/clusters/demo'
  const seen = async () => {
    const read = async (path: string) => (await call('GET', path)).body
    const clusters = (await read('/v1/clusters'))['data'] as { name: string }[]
    const names = clusters.map(({ name }) => name)
    return [names, await read(`${at}/restore-points`), await read(`${at}/backup-policy`)]
  }
  const before = await seen()
  const wrong = strange.filter((text) => text.trim() !== '')
  await fc.assert(
    fc.asyncProperty(wrong, async (text) => {
      const moments = [
        ...[{ at: text }, { at: `2026-01-01T00:00:00Z${text}` }, { lsn: `0/1${text}` }],
        ...[{ xid: `1${text}` }, { restore_point: `a${text}` }, { backup: text }],
      ]
      const policies = [
        ...[{ full: text }, { full: `0 1 * * 0${text}` }, { differential: text }, { drill: text }],
        ...[{ timezone: text }, { timezone: `UTC${text}` }, { keep_full: text }, { [text]: 1 }],
      ]
      const attempts: [string, string, object?][] = [
        ...moments.flatMap((moment): [string, string, object][] => [
          ['POST', 'fork', { name: 'fine', ...moment }],
          ['POST', 'restore', { confirm: 'demo', ...moment }],
        ]),
        ...policies.map((policy): [string, string, object] => ['PATCH', 'backup-policy', policy]),
        ['POST', 'fork', { name: text }],
        ['POST', 'restore-points', { name: text }],
        ['POST', 'restore-drills', { backup: text }],
        ['POST', 'backups', { type: text }],
        ['POST', 'repository', { repository: text }],
        ['GET', `backups/${encodeURIComponent(text)}`],
        ['DELETE', `backups/${encodeURIComponent(text)}`],
      ]
      for (const [method, path, body] of attempts) {
        const { status } = await call(method, `${at}/${path}`, body)
        const said = `${method} ${path} ${JSON.stringify(body)}: ${status}`
        assert.ok(status === 400 || status === 404, said)
      }
    }),
    { seed: SEED, numRuns: RUNS * 3 },
  )
  assert.deepEqual(await seen(), before)
})

test('a restore point may be called whatever its rule allows, and is found by that', async () => {
  const path = '/v1/clusters/demo/restore-points'
  const names = ['__proto__', 'constructor', 'null', '0x1f', '_', 'a..b', 'X'.repeat(63)]
  for (const name of names) assert.equal((await call('POST', path, { name })).status, 201, name)
  const { body } = await call('GET', path)
  const listed = (body['data'] as { name: string }[]).map(({ name }) => name)
  assert.deepEqual(listed.toSorted(), names.toSorted())
  const plan = async (name: string) => {
    const wanted = { name: 'fine', restore_point: name, plan: true }
    return (await call('POST', '/v1/clusters/demo/fork', wanted)).body['detail']
  }
  for (const name of names) assert.doesNotMatch(String(await plan(name)), /there is no restore/)
  assert.match(String(await plan('toString')), /there is no restore point toString/)
})

// They end up in pg_hba.conf, where a space or a line break would be a new rule.
const ADDRESSES = [
  ...['all', '0.0.0.0/0', '127.0.0.1/8', '127.0.0.1 trust', '127.0.0.1\nhost all all all trust'],
  ...['samenet', '::1%lo', 'fe80::1%eth0', '1.2.3', '0x7f000001', '2130706433', '127.1'],
  ...['::ffff:1.2.3.4', '[::1]', '::1/0', '01.02.03.04', '1.2.3.4.5', 'localhost'],
  ...['.example.com', '１.２.３.４', '::g'],
]

test('an address is one address, or it is refused', async () => {
  const address = fc.oneof(fc.constantFrom(...ADDRESSES), hostileText(40), fc.ipV4(), fc.ipV6())
  await fc.assert(
    fc.asyncProperty(address, fc.boolean(), async (text, asSource) => {
      const host = asSource
        ? { name: 'drawn', address: `${SUBNET}.67`, source_addresses: [text] }
        : { name: 'drawn', address: text }
      const { status } = await call('POST', '/v1/hosts', host)
      assert.ok(status === 201 || status === 400, String(status))
      if (status === 400) return
      assert.notEqual(isIP(text), 0, `${JSON.stringify(text)} passed as an address`)
      assert.match(text, /^[0-9a-fA-F.:]+$/)
      assert.equal((await call('DELETE', '/v1/hosts/drawn')).status, 204)
    }),
    { seed: SEED, numRuns: RUNS * 10 },
  )
})

test('free text of users and tokens is read back as it was', async () => {
  const text = fc.oneof(fc.constantFrom(...pieces), hostileText(100))
  await fc.assert(
    fc.asyncProperty(text, text, async (fullName, tokenName) => {
      const user = { name: 'drawn', full_name: fullName, role: 'viewer' }
      assert.equal((await call('POST', '/v1/users', user)).body['full_name'], fullName)
      assert.equal((await call('GET', '/v1/users/drawn')).body['full_name'], fullName)
      const made = await call('POST', '/v1/users/drawn/tokens', { name: tokenName })
      assert.equal(made.status, 201)
      const { body } = await call('GET', '/v1/users/drawn/tokens')
      assert.deepEqual(
        (body['data'] as { name: string }[]).map(({ name }) => name),
        [tokenName],
      )
      assert.equal((await call('DELETE', '/v1/users/drawn')).status, 204)
    }),
    { seed: SEED, numRuns: RUNS * 5 },
  )
})

test('nothing of all this was executed', () => {
  assert.equal(existsSync(CANARY), false)
})
