// Goal: SQL tasks do what they say and fail with a code to branch on. Method: a real PostgreSQL, a
// second one in recovery, hostile names and results.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { quoteIdentifier, quoteLiteral } from '@howdah/core/names.ts'
import { type HostRoot, openHostRoot } from '../host-root.ts'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { startTestPostgres } from '../testing/test-postgres.ts'
import { until } from '../testing/until.ts'
import { runSql } from './run-sql.ts'
import { TaskError } from './task-error.ts'

const ADDRESS = '127.61.3.1'

let base: string
let root: HostRoot
let authority: TestAuthority
const started: { stop(): Promise<void> }[] = []

before(async () => {
  base = await mkdtemp('/tmp/hwd-pg-')
  await chmod(base, 0o755)
  root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  authority = await makeTestAuthority()
  await startPostgresql('leader', 5432)
  await startPostgresql('standby', 5433)
})

after(async () => {
  for (const postgres of started) await postgres.stop()
  await rm(base, { recursive: true, force: true })
})

async function startPostgresql(name: 'leader' | 'standby', port: number): Promise<void> {
  const plan = { name, address: ADDRESS, port, standby: name === 'standby' }
  started.push(await startTestPostgres({ root, authority }, plan))
  await until(
    `${name} to answer`,
    () => attempt(['select 1'], { port }),
    (said) => said.code === '',
  )
}

interface Change {
  port?: number
  host?: string
  database?: string
  user?: string
  caPem?: string
  requireLeader?: boolean
  timeoutMs?: number
  params?: (string | number | boolean | null)[]
}

async function run(texts: string[], change: Change = {}): Promise<{ rows: unknown[] }[]> {
  const { requireLeader, timeoutMs, params, ...connection } = change
  const action = {
    kind: 'sql' as const,
    connection: {
      host: join(root.path, 'run'),
      port: 5432,
      user: 'howdah',
      database: 'postgres',
      ...connection,
    },
    requireLeader: requireLeader ?? false,
    statements: texts.map((text) => ({ text, params: params ?? [] })),
  }
  const limit = timeoutMs ?? 10_000
  // For a server that does not keep to the limit, which begins once it has been reached.
  const signal = AbortSignal.timeout(limit + 30_000)
  return await runSql(action, { rootPath: root.path, timeoutMs: limit, signal })
}

async function attempt(texts: string[], change: Change = {}) {
  try {
    await run(texts, change)
    return { code: '', message: '' }
  } catch (error) {
    if (error instanceof TaskError) return { code: error.code, message: error.message }
    throw error
  }
}

test('rows come back per statement, in order, with and without parameters', async () => {
  const texts = ['select 1 as one', 'select $1::text as said', 'values (1), (2)']
  const results = await run([texts[0] as string, texts[2] as string])
  assert.deepEqual(results, [{ rows: [{ one: 1 }] }, { rows: [{ column1: 1 }, { column1: 2 }] }])
  assert.deepEqual(await run([texts[1] as string], { params: ['$1; é'] }), [
    { rows: [{ said: '$1; é' }] },
  ])
})

test('each statement is its own transaction: what came before a failure stays', async () => {
  const said = await attempt(['create table public.kept (a int)', 'select nonsense'])
  assert.equal(said.code, '42703')
  const after = await run(['select count(*)::int as count from public.kept'])
  assert.deepEqual(after, [{ rows: [{ count: 0 }] }])
})

test('an instance in recovery refuses what is for the leader, and answers the rest', async () => {
  const standby = { port: 5433 }
  assert.equal(
    (await attempt(['select 1'], { ...standby, requireLeader: true })).code,
    'not-leader',
  )
  assert.equal((await attempt(['select 1'], standby)).code, '')
  assert.equal((await attempt(['select 1'], { requireLeader: true })).code, '')
})

test('hostile names make what they say and nothing else', async () => {
  const names = [
    '"; drop table public.kept; --',
    "'; select pg_sleep(10); --",
    '$$',
    'a b\nc\td',
    '\\',
    '%s %I',
    'é🐘',
    'x'.repeat(63),
  ]
  for (const name of names) {
    const statements = [
      `create role ${quoteIdentifier(name)} login`,
      `comment on role ${quoteIdentifier(name)} is ${quoteLiteral(name)}`,
      `create database ${quoteIdentifier(name)} owner ${quoteIdentifier(name)}`,
    ]
    await run(statements)
    const found = await run(
      ['select rolname as name from pg_roles where rolname = $1 union all select $1'],
      { params: [name], database: name },
    )
    assert.deepEqual(found, [{ rows: [{ name }, { name }] }])
  }
  await run(['select * from public.kept'])
})

test('functions of a hostile database owner are not called by an unqualified name', async () => {
  await run([
    `create function public.now() returns timestamptz language sql
       as $$ select '-infinity'::timestamptz $$`,
    'alter database postgres set search_path = public, pg_catalog',
  ])
  const [first] = await run(['select pg_catalog.isfinite(now()) as genuine'])
  assert.deepEqual(first, { rows: [{ genuine: true }] })
})

test('a result without an end is cut, and the agent goes on', async () => {
  // In the list of what is selected, so that the rows come as they are made.
  const said = await attempt(["select repeat('x', 1000), generate_series(1, 10000000)"])
  assert.equal(said.code, 'result-too-large')
})

test('a statement that takes too long ends with its SQLSTATE', async () => {
  const said = await attempt(['select pg_sleep(120)'], { timeoutMs: 2000 })
  assert.equal(said.code, '57014')
})

test('nobody there is unreachable', async () => {
  assert.equal((await attempt(['select 1'], { port: 5499 })).code, 'unreachable')
  const overTcp = { host: ADDRESS, port: 5499, caPem: authority.caPem }
  assert.equal((await attempt(['select 1'], overTcp)).code, 'unreachable')
})

test('over TCP the chain is verified', async () => {
  const overTcp = { host: ADDRESS, caPem: authority.caPem }
  const [first] = await run(['select ssl from pg_stat_ssl where pid = pg_backend_pid()'], overTcp)
  assert.deepEqual(first, { rows: [{ ssl: true }] })
  const other = await makeTestAuthority()
  const untrusted = await attempt(['select 1'], { host: ADDRESS, caPem: other.caPem })
  assert.equal(untrusted.code, 'unreachable')
  assert.match(untrusted.message, /signature|certificate/)
})

test('a socket outside the root is refused', async () => {
  for (const host of ['/var/run/postgresql', join(root.path, '../x'), 'localhost']) {
    assert.equal((await attempt(['select 1'], { host })).code, 'refused', host)
  }
})
