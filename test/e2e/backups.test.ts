// What a person counts on when something was lost: a cluster is backed up from its first minute,
// any moment of it can be had again as a new cluster, and a backup is only called proven after it
// was restored. What is broken in a repository is found, and named.
import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Backup, BackupStatus, RestorePlan } from '@howdah/core/contract/backups.ts'
import type { Cluster, ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 120_000
const FIRST_BACKUP_TIMEOUT_MS = 60_000
const CHECK_TIMEOUT_MS = 90_000

let platform: TestPlatform
let cluster: TestCluster

before(async () => {
  platform = await startPlatform({
    subnet: '127.102.0',
    environment: { HOWDAH_ARCHIVE_CHECK_SECONDS: '10' },
  })
  cluster = await platform.createCluster('demo', { instances: 2 })
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

const post = (path: string, body: unknown = {}) =>
  platform.api<ClusterAccepted & RestorePlan & Problem>('POST', `/v1/clusters/${path}`, body)

/** A backup may be running because it is its time: then the next one waits for it. */
async function postWhenFree(path: string, body: unknown = {}) {
  return until(`${path} to be accepted`, OPERATION_TIMEOUT_MS, async () => {
    const reply = await post(path, body)
    const isBusy = reply.status === 409 && reply.body.code === 'operation-running'
    return isBusy ? { seen: reply.body.detail } : { value: reply }
  })
}

async function finish(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  return platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
}

async function succeed(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  const operation = await finish(reply)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

async function backups(name = 'demo'): Promise<Backup[]> {
  const path = `/v1/clusters/${name}/backups`
  return (await platform.api<{ data: Backup[] }>('GET', path)).body.data
}

async function firstBackup(): Promise<Backup> {
  return until<Backup>('the first backup', FIRST_BACKUP_TIMEOUT_MS, async () => {
    const [first] = await backups()
    return first === undefined ? { seen: 'none' } : { value: first }
  })
}

/** A cluster of one, with what the target says; removed at the end. */
async function fork(name: string, body: object, look: (forked: TestCluster) => Promise<void>) {
  const reply = await post('demo/fork', { name, instances: 1, ...body })
  const operation = await succeed(reply)
  const forked = await readCluster(platform.api, reply.body, operation)
  await look(forked)
  const ask = { confirm: name, purge: true }
  const headers = { 'if-match': '*' }
  await succeed(await platform.api('DELETE', `/v1/clusters/${name}`, ask, headers))
}

const present = async (target = cluster) =>
  (await sql<{ n: string }>({ cluster: target }, 'select count(*) as n from ledger'))[0]?.n

test('a new cluster is backed up by itself, encrypted', async () => {
  const first = await firstBackup()
  assert.equal(first.type, 'full')
  assert.equal(first.proven_at, null)
  const path = join(platform.home, 'backups', cluster.cluster.id)
  const info = await readFile(join(path, 'backup', cluster.cluster.id, 'backup.info'), 'latin1')
  assert.match(info, /^Salted__/)
  // The repository tells the end of a backup in whole seconds: the window begins after that.
  await until('the window to begin', 10_000, () => {
    const sinceMs = Date.now() - Date.parse(first.stopped_at)
    return sinceMs > 1500 ? { value: true } : { seen: `${sinceMs} ms` }
  })
})

test('a fork has what was committed at its moment, and nothing after', async () => {
  await sql({ cluster }, 'create table ledger (n integer primary key)')
  await sql({ cluster }, 'insert into ledger select generate_series(1, 100)')
  const point = await post('demo/restore-points', { name: 'before-it-happened' })
  assert.equal(point.status, 201, JSON.stringify(point.body))
  const [{ at, xid } = { at: '', xid: '' }] = await sql<{ at: string; xid: string }>(
    { cluster },
    `insert into ledger values (101) returning
       to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
       pg_current_xact_id()::text as xid`,
  )
  await sql({ cluster }, 'drop table ledger')
  // The time was read before its own transaction was committed.
  await fork('by-time', { at }, async (forked) => assert.equal(await present(forked), '100'))
  await fork('by-name', { restore_point: 'before-it-happened' }, async (forked) =>
    assert.equal(await present(forked), '100'),
  )
  await fork('by-xid', { xid }, async (forked) => assert.equal(await present(forked), '101'))
})

test('a fork of several instances replicates, and archives to a place of its own', async () => {
  await sql({ cluster }, 'create table ledger (n integer primary key)')
  const reply = await post('demo/fork', { name: 'twin', instances: 2 })
  const operation = await succeed(reply)
  const twin = await readCluster(platform.api, reply.body, operation)
  assert.equal(twin.cluster.instances.filter(({ streaming }) => streaming).length, 1)
  assert.equal(new Set(twin.cluster.instances.map(({ timeline }) => timeline)).size, 1)
  await sql({ cluster: twin }, 'insert into ledger values (1)')
  assert.equal(await present(), '0')
  const mine = await readdir(join(platform.home, 'backups', twin.cluster.id))
  assert.ok(mine.includes('archive'), mine.join())
})

test('a plan says what would be done; what cannot be restored is refused', async () => {
  const plan = await post('demo/fork', { name: 'planned', plan: true })
  assert.equal(plan.status, 200, JSON.stringify(plan.body))
  assert.equal(plan.body.backup, (await backups())[0]?.label)
  for (const at of ['2020-01-01T00:00:00Z', '2999-01-01T00:00:00Z']) {
    const refused = await post('demo/fork', { name: 'planned', at })
    assert.equal(refused.status, 422, JSON.stringify(refused.body))
    assert.equal(refused.body.code, 'outside-window')
  }
  const stranger = await post('demo/fork', { name: 'planned', restore_point: 'nobody' })
  assert.equal(stranger.status, 404)
})

test('a drill proves a backup, and says how long a restore takes', async () => {
  await succeed(await postWhenFree('demo/restore-drills'))
  const [newest] = await backups()
  assert.notEqual(newest?.proven_at ?? null, null)
  assert.ok((newest?.proven_ms ?? 0) > 0)
  const { body } = await platform.api<BackupStatus>('GET', '/v1/clusters/demo/backup-status')
  assert.equal(body.newest_proven?.label, newest?.label)
})

test('retention removes what the policy no longer keeps, and what needed it', async () => {
  const policy = '/v1/clusters/demo/backup-policy'
  const kept = await platform.api('PATCH', policy, { keep_full: 1, timezone: 'Asia/Ho_Chi_Minh' })
  assert.equal(kept.status, 200, JSON.stringify(kept.body))
  await succeed(await postWhenFree('demo/backups', { type: 'incremental' }))
  assert.equal((await backups()).length, 2)
  await succeed(await postWhenFree('demo/backups', { type: 'full' }))
  const left = await backups()
  assert.deepEqual(
    left.map(({ type }) => type),
    ['full'],
  )
  const path = `/v1/clusters/demo/backups/${left[0]?.id}`
  assert.equal((await platform.api('DELETE', path)).status, 409)
})

/** The newest file of that kind in the repository. */
async function findInRepository(part: string, wanted: RegExp): Promise<string> {
  const top = join(platform.home, 'backups', cluster.cluster.id, part)
  const found = (await readdir(top, { recursive: true })).filter((path) => wanted.test(path)).sort()
  const last = found.at(-1)
  if (last === undefined) throw new Error(`nothing in ${top} is ${wanted}`)
  return join(top, last)
}

test('a bit that flips in the repository is found by the drill, and never restored', async () => {
  const [newest] = await backups()
  const path = await findInRepository('backup', new RegExp(`${newest?.label}/bundle/\\d+$`))
  const sound = await readFile(path)
  const broken = Buffer.from(sound)
  const at = Math.floor(broken.length / 2)
  broken[at] = (broken[at] ?? 0) ^ 1
  await writeFile(path, broken)
  try {
    const drill = await finish(await postWhenFree('demo/restore-drills'))
    assert.equal(drill.state, 'failed')
    assert.match(drill.error?.detail ?? '', new RegExp(`${newest?.label} is not proven`))
    assert.notEqual((await backups())[0]?.damage, '')
    const refused = await post('demo/fork', { name: 'broken' })
    assert.equal(refused.status, 422, JSON.stringify(refused.body))
  } finally {
    await writeFile(path, sound)
  }
  const named = { backup: newest?.id }
  await succeed(await postWhenFree('demo/restore-drills', named))
  assert.equal((await backups())[0]?.damage, '')
})

test('WAL that is missing in the repository is told within a minute or so', async () => {
  await sql({ cluster }, 'insert into ledger select generate_series(1000, 2000)')
  await succeed(await postWhenFree('demo/restore-drills'))
  const { rm } = await import('node:fs/promises')
  await rm(await findInRepository('archive', /[0-9A-F]{24}-[0-9a-f]{40}\.zst$/))
  const gap = await until<Event>('the gap to be told', CHECK_TIMEOUT_MS, async () => {
    const path = `/v1/events?cluster=${cluster.cluster.id}&limit=1000`
    const { body } = await platform.api<{ data: Event[] }>('GET', path)
    const found = body.data.find(({ kind }) => kind === 'archive.gap')
    return found === undefined ? { seen: `${body.data.length} events` } : { value: found }
  })
  assert.match(gap.message, /is missing in its repository/)
  const beyond = await post('demo/fork', { name: 'beyond', plan: true })
  if (beyond.status !== 200) assert.equal(beyond.body.code, 'outside-window')
  await until('a backup to close the gap', CHECK_TIMEOUT_MS, async () => {
    const [newest] = await backups()
    const isLater = Date.parse(newest?.started_at ?? '') >= Date.parse(gap.at) - 1000
    return isLater ? { value: true } : { seen: `the newest is of ${newest?.started_at}` }
  })
})

test('a restore in place takes a cluster back, and its undo brings all of it back', async () => {
  const point = { restore_point: 'before-the-flood' }
  assert.equal((await post('demo/restore-points', { name: point.restore_point })).status, 201)
  const before = await present()
  await sql({ cluster }, 'insert into ledger select generate_series(5000, 6000)')
  const after = await present()
  assert.equal((await postWhenFree('demo/restore', point)).status, 422)
  const restored = await succeed(await postWhenFree('demo/restore', { ...point, confirm: 'demo' }))
  assert.equal(await present(), before, JSON.stringify(restored))
  const { instances } = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  assert.deepEqual(new Set(instances.map(({ timeline }) => timeline)).size, 1)
  await sql({ cluster }, 'insert into ledger values (-1)')
  await succeed(await postWhenFree('demo/backups', { type: 'full' }))

  await succeed(await postWhenFree('demo/restore/undo', { confirm: 'demo' }))
  assert.equal(await present(), after)
  assert.equal((await post('demo/restore/undo', { confirm: 'demo' })).status, 409)
  // Both incarnations claimed the same timeline: archiving goes on all the same.
  await succeed(await post('demo/switchover'))
  await succeed(await postWhenFree('demo/backups', { type: 'full' }))
  await succeed(await postWhenFree('demo/restore-drills'))
})

test('the backups of a deleted cluster can be forked from, by its name', async () => {
  await succeed(
    await platform.api(
      'DELETE',
      '/v1/clusters/demo',
      { confirm: 'demo', purge: true, keep_backups: true },
      { 'if-match': '*' },
    ),
  )
  assert.ok((await backups()).length > 0)
  const reply = await post('demo/fork', { name: 'risen', instances: 1 })
  const operation = await succeed(reply)
  const risen = await readCluster(platform.api, reply.body, operation)
  assert.notEqual(await present(risen), '0')
})
