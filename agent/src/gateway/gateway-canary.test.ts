// Proves when a canary counts, with a clock and a gateway that are a few variables; and, at real
// PostgreSQLs, that only one that leads takes it.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import pg from 'pg'
import type { ClusterView } from '../dcs/cluster-watch.ts'
import { openHostRoot } from '../host-root.ts'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { startTestPostgres } from '../testing/test-postgres.ts'
import { until } from '../testing/until.ts'
import { dueOf, makeCanary, writeThrough } from './gateway-canary.ts'

const ADDRESS = '127.61.9.1'
const LEADER_PORT = 5432
const STANDBY_PORT = 5433

let base: string
let authority: TestAuthority
const started: { stop(): Promise<void> }[] = []

before(async () => {
  base = await mkdtemp('/tmp/hwd-pg-')
  await chmod(base, 0o755)
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  authority = await makeTestAuthority()
  for (const [name, port] of [
    ['leader', LEADER_PORT],
    ['standby', STANDBY_PORT],
  ] as const) {
    const plan = { name, address: ADDRESS, port, standby: name === 'standby' }
    started.push(await startTestPostgres({ root, authority }, plan))
  }
  for (const port of [LEADER_PORT, STANDBY_PORT]) {
    await until(
      `${port} to answer`,
      () => attempt({ port }),
      (said) => !said.startsWith('cannot log in'),
    )
  }
})

after(async () => {
  for (const postgres of started) await postgres.stop()
  await rm(base, { recursive: true, force: true })
})

/** What the canary says at a PostgreSQL; empty: it was written. */
async function attempt({ port = LEADER_PORT, caPem = authority.caPem } = {}): Promise<string> {
  const cluster = { caPem, probe: { user: 'howdah', password: 'unused' } }
  const { rounds } = play(() => writeThrough(cluster, { address: ADDRESS, writePort: port }))
  await rounds.round()
  return rounds.state()?.error ?? 'nothing'
}

async function leaderSql(text: string): Promise<void> {
  const client = new pg.Client({
    host: ADDRESS,
    port: LEADER_PORT,
    user: 'howdah',
    database: 'postgres',
    ssl: { ca: authority.caPem, checkServerIdentity: () => undefined },
  })
  await client.connect()
  await client.query(text).finally(() => client.end())
}

test('whoever leads takes it, a replica refuses it', async () => {
  assert.equal(await attempt(), '')
  const said = 'logged in, but cannot write: cannot execute pg_current_xact_id() during recovery'
  assert.equal(await attempt({ port: STANDBY_PORT }), said)
})

test('it waits for no replica: whether one is there is no matter of the gateway', async () => {
  await leaderSql("alter system set synchronous_standby_names = 'nobody'")
  await leaderSql('select pg_reload_conf()')
  assert.equal(await attempt(), '')
  await leaderSql('alter system reset synchronous_standby_names')
  await leaderSql('select pg_reload_conf()')
})

test('a certificate of another authority, and nobody at the port, are said', async () => {
  const { caPem } = await makeTestAuthority()
  assert.match(await attempt({ caPem }), /^cannot log in: .*certificate/)
  assert.match(await attempt({ port: 5999 }), /^cannot log in: connect ECONNREFUSED/)
})

/** A canary at a time of its own. `write` takes no time unless it says so. */
function play(write: () => Promise<void> = async () => {}) {
  const stage = { nowMs: 1000, due: 'a' as string | undefined, write }
  const rounds = makeCanary({
    due: () => stage.due,
    write: () => stage.write(),
    nowMs: () => stage.nowMs,
  })
  return { stage, rounds }
}

const fails = async () => {
  throw new Error('no', { cause: new Error('refused') })
}

test('silence counts from the last one that was written', async () => {
  const { stage, rounds } = play()
  await rounds.round()
  assert.deepEqual(rounds.state(), { silentMs: 0, error: '' })
  stage.write = fails
  for (const silentMs of [5000, 10_000]) {
    stage.nowMs += 5000
    await rounds.round()
    assert.deepEqual(rounds.state(), { silentMs, error: 'no: refused' })
  }
  stage.write = async () => {}
  await rounds.round()
  assert.deepEqual(rounds.state(), { silentMs: 0, error: '' })
})

test('a new leader, and whoever comes after a pause, has a time of its own', async () => {
  const { stage, rounds } = play(fails)
  await rounds.round()
  stage.nowMs += 60_000
  stage.due = 'b'
  await rounds.round()
  assert.equal(rounds.state()?.silentMs, 0)
  stage.nowMs += 60_000
  stage.due = undefined
  await rounds.round()
  assert.equal(rounds.state(), undefined)
  stage.nowMs += 60_000
  stage.due = 'b'
  await rounds.round()
  stage.nowMs += 5000
  await rounds.round()
  assert.equal(rounds.state()?.silentMs, 5000)
})

test('a canary into which a change came is no fault, unless it was written', async () => {
  for (const [outcome, state] of [
    [fails, undefined],
    [async () => {}, { silentMs: 0, error: '' }],
  ] as const) {
    const { stage, rounds } = play()
    await rounds.round()
    stage.nowMs += 60_000
    stage.write = async () => {
      stage.due = undefined
      await outcome()
    }
    await rounds.round()
    assert.deepEqual(rounds.state(), state)
    // It was moved for nothing: the silence begins here.
    stage.due = 'a'
    stage.write = fails
    await rounds.round()
    assert.equal(rounds.state()?.silentMs, 0)
  }
})

test('what is said is bounded and can be stored', async () => {
  const { rounds } = play(async () => {
    throw new Error(`\ud800${'x'.repeat(10_000)}`)
  })
  await rounds.round()
  const said = rounds.state()?.error ?? ''
  assert.equal(said.length, 300)
  assert.ok(said.isWellFormed())
})

function viewOf(leader: string | undefined, paused = false): ClusterView {
  return {
    leader: leader === undefined ? undefined : { name: leader, createRevision: '7', leaseId: '1' },
    syncReplicas: [],
    syncRevision: '0',
    failover: undefined,
    paused,
    initialized: true,
    lastTimeline: undefined,
  }
}

test('it is due where somebody leads, or may: not while clients are held, nor in a pause', () => {
  assert.equal(dueOf(viewOf('a'), 0, false), '7')
  assert.equal(dueOf(viewOf('a'), 0, true), undefined)
  assert.equal(dueOf(viewOf('a', true), 0, false), undefined)
  assert.equal(dueOf(viewOf(undefined), 0, false), undefined)
  // The dcs is silent, or was never heard: that excuses nothing.
  assert.equal(dueOf(viewOf('a'), 60_000, false), 'unknown')
  assert.equal(dueOf(undefined, Number.POSITIVE_INFINITY, false), 'unknown')
})
