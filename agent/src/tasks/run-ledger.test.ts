// Goal: the writer of a game day counts what clients would notice, and nothing else. Method: a real
// PostgreSQL behind TLS as the write endpoint and as the only instance.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openHostRoot } from '../host-root.ts'
import { makeTestAuthority } from '../testing/test-authority.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { startTestPostgres } from '../testing/test-postgres.ts'
import { until } from '../testing/until.ts'
import { runLedger } from './run-ledger.ts'
import { runSql } from './run-sql.ts'

const ENDPOINT = { address: '127.61.4.1', port: 5432 }

let base: string
let caPem: string
let postgres: { stop(): Promise<void> } | undefined

before(async () => {
  base = await mkdtemp('/tmp/hwd-pg-')
  await chmod(base, 0o755)
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  const authority = await makeTestAuthority()
  caPem = authority.caPem
  const plan = { name: 'leader', ...ENDPOINT, standby: false }
  postgres = await startTestPostgres({ root, authority }, plan)
  await until(
    'PostgreSQL to answer',
    () => run(['select 1']).catch((error: Error) => error.message),
    (said) => said === '',
  )
  await run([
    'create schema howdah',
    'create table howdah.ledger (run text, number bigint, primary key (run, number))',
  ])
})

after(async () => {
  await postgres?.stop()
  await rm(base, { recursive: true, force: true })
})

async function run(texts: string[]): Promise<string> {
  const connection = { host: ENDPOINT.address, port: ENDPOINT.port, caPem }
  const action = {
    kind: 'sql' as const,
    connection: { ...connection, user: 'howdah', database: 'postgres' },
    requireLeader: false,
    statements: texts.map((text) => ({ text, params: [] })),
  }
  const signal = AbortSignal.timeout(10_000)
  await runSql(action, { rootPath: base, timeoutMs: 10_000, signal })
  return ''
}

function writeLedger() {
  const action = {
    kind: 'run-ledger' as const,
    run: 'op_1/0',
    durationMs: 1000,
    user: 'howdah',
    password: '',
    caPem,
    endpoint: ENDPOINT,
    instances: [ENDPOINT],
  }
  return runLedger(action, AbortSignal.timeout(60_000))
}

test('a ledger that is written twice at once misses nothing and refuses nothing', async () => {
  for (const report of await Promise.all([writeLedger(), writeLedger()])) {
    assert.ok(report.acknowledged > 0)
    assert.deepEqual([report.failed, report.lost], [0, 0])
  }
})

test('the time in which rows are read back is not watched', async () => {
  await run([
    `create function howdah.linger() returns trigger language plpgsql
       as $$ begin perform pg_catalog.pg_sleep(3); return null; end $$`,
    `create trigger linger before delete on howdah.ledger
       for each statement execute function howdah.linger()`,
  ])
  const startedMs = performance.now()
  const report = await writeLedger()
  assert.equal(report.lost, 0)
  const unwatchedMs = performance.now() - startedMs - report.watched_ms
  assert.ok(unwatchedMs >= 3000, `${unwatchedMs} ms: ${JSON.stringify(report)}`)
})
