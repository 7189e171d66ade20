// What a person counts on when something was lost: a cluster is backed up from its first minute,
// any moment of it can be had again as a new cluster, and a backup is only called proven after it
// was restored. What is broken in a repository is found, and named.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Backup, BackupStatus, RestorePlan } from '@howdah/core/contract/backups.ts'
import type {
  Cluster,
  ClusterAccepted,
  Endpoint,
  OperationAccepted,
} from '@howdah/core/contract/clusters.ts'
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { endSegment, leftSegment, listEvents } from '../harness/archive-faults.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { flipBit } from '../harness/flip-bit.ts'
import { LONG } from '../harness/long.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 240_000
const FIRST_BACKUP_TIMEOUT_MS = 180_000
const SHOWN_TIMEOUT_MS = 60_000
const CHECK_TIMEOUT_MS = 90_000

let platform: TestPlatform
let cluster: TestCluster

before(async () => {
  platform = await startPlatform({
    subnet: '127.102.0',
    environment: { HOWDAH_ARCHIVE_CHECK_SECONDS: '5' },
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

/** What a gap or an undo asks for begins by itself, some seconds later. */
async function noneDue(): Promise<void> {
  await until('no backup to be due or on its way', OPERATION_TIMEOUT_MS, async () => {
    const path = '/v1/clusters/demo/backup-status'
    const { body: status } = await platform.api<BackupStatus>('GET', path)
    const due = status.next_runs.filter(({ at }) => Date.parse(at) <= Date.now())
    const { body } = await platform.api<{ data: Operation[] }>(
      'GET',
      '/v1/operations?cluster=demo&limit=100',
    )
    const running = body.data.filter(({ state }) => state === 'running' || state === 'pending')
    const seen = [...due.map(({ kind }) => `${kind} is due`), ...running.map(({ title }) => title)]
    return seen.length === 0 ? { value: true } : { seen: seen.join(', ') }
  })
}

/** One streams, and all are on one timeline: each agent tells it of its own instance. */
async function follows(name: string): Promise<void> {
  await until(`the replica of ${name} to follow`, SHOWN_TIMEOUT_MS, async () => {
    const { instances } = (await platform.api<Cluster>('GET', `/v1/clusters/${name}`)).body
    const streaming = instances.filter((one) => one.streaming).length
    const timelines = new Set(instances.map(({ timeline }) => timeline))
    const parts = instances.map((one) => `${one.name} ${one.state} ${one.timeline}`)
    const isFollowing = streaming === 1 && timelines.size === 1
    return isFollowing ? { value: true } : { seen: `${streaming} stream: ${parts.join(', ')}` }
  })
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

test('a fork of several instances replicates, and archives to its own place', LONG, async () => {
  await sql({ cluster }, 'create table ledger (n integer primary key)')
  const reply = await post('demo/fork', { name: 'twin', instances: 2 })
  const operation = await succeed(reply)
  const twin = await readCluster(platform.api, reply.body, operation)
  await follows('twin')
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

test('retention removes what the policy no longer keeps, and what needed it', LONG, async () => {
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

test('a backup is read from the replica, and the leader closes its door', LONG, async () => {
  const body = { type: 'full', throttle_bytes_per_second: 100_000_000 }
  const operation = await succeed(await postWhenFree('demo/backups', body))
  const said = operation.steps.find(({ name }) => name === 'back-up')?.message ?? ''
  const replica = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body.instances.find(
    ({ role }) => role !== 'leader',
  )
  assert.match(said, new RegExp(`stored; from the replica ${replica?.name}$`))
  await until('the door to be gone', 30_000, async () => {
    const hosts = await readdir(join(platform.home, 'hosts'))
    const services = hosts.map((host) => readdir(join(platform.home, 'hosts', host, 'services')))
    const doors = (await Promise.all(services)).flat().filter((name) => /^pgbackrest-/.test(name))
    return doors.length === 0 ? { value: true } : { seen: doors.join() }
  })
  await succeed(await postWhenFree('demo/restore-drills'))
})

async function currentLsn(): Promise<string | undefined> {
  const query = 'select pg_current_wal_insert_lsn()::text as lsn'
  return (await sql<{ lsn: string }>({ cluster }, query))[0]?.lsn
}

test('a backup that is cancelled ends at once, for what is urgent', LONG, async () => {
  const before = await backups()
  const reply = await postWhenFree('demo/backups', {
    type: 'full',
    throttle_bytes_per_second: 1_000_000,
  })
  const { id } = reply.body.operation
  await until('the backup to begin', OPERATION_TIMEOUT_MS, async () => {
    const { body } = await platform.api<Operation>('GET', `/v1/operations/${id}`)
    const said = body.steps.find(({ name }) => name === 'back-up')?.message ?? ''
    return /^(begins at|copied from)/.test(said) ? { value: true } : { seen: said }
  })
  const cancelled = await platform.api<Operation>('POST', `/v1/operations/${id}/cancel`)
  assert.equal(cancelled.status, 202, JSON.stringify(cancelled.body))
  const operation = await platform.waitOperation(id, OPERATION_TIMEOUT_MS)
  assert.equal(operation.state, 'cancelled', JSON.stringify(operation.error))
  // Its program is gone with its lock: the next one need not wait for it.
  await succeed(await postWhenFree('demo/backups', { type: 'incremental' }))
  const now = await backups()
  assert.equal(now.length, before.length + 1)
})

test('when the replica cannot be read, its leader is, and that is said', LONG, async () => {
  const { instances } = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  const replica = instances.find(({ role }) => role !== 'leader')
  const path = join(platform.home, 'hosts', replica?.host ?? '', 'config', replica?.id ?? '')
  // The authority by which it knows its leader.
  const authority = await readFile(join(path, 'ca.crt'))
  await writeFile(join(path, 'ca.crt'), 'none')
  try {
    const reply = await postWhenFree('demo/backups', { type: 'incremental' })
    assert.equal(reply.status, 202, JSON.stringify(reply.body))
    await until('the backup to end', OPERATION_TIMEOUT_MS, async () => {
      // Again and again: the agent puts it back at its next look, which may be before it is read.
      await writeFile(join(path, 'ca.crt'), 'none')
      const at = `/v1/operations/${reply.body.operation.id}`
      const { body } = await platform.api<Operation>('GET', at)
      return body.ended_at === null ? { seen: JSON.stringify(body.steps) } : { value: true }
    })
    const operation = await succeed(reply)
    const said = operation.steps.find(({ name }) => name === 'back-up')?.message ?? ''
    assert.match(said, /stored; from the leader demo-\d, as the attempt before failed$/)
  } finally {
    await writeFile(join(path, 'ca.crt'), authority)
  }
})

test('a new replica is made from the backup, and streams', async () => {
  const scaled = await succeed(await post('demo/scale', { instances: 3, source: 'backup' }))
  const said = scaled.steps.find(({ name }) => name === 'seed')?.message ?? ''
  assert.match(said, /^demo-3: from backup \S+: as it was asked for$/)
  const { instances } = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  assert.equal(instances.filter(({ streaming }) => streaming).length, 2)
  // A copy would be as good; that nobody copied is in what its Patroni logged.
  const fresh = instances.find(({ name }) => name === 'demo-3')
  const log = join(platform.home, 'hosts', fresh?.host ?? '', 'log', `patroni-${fresh?.id}`)
  const text = await readFile(join(log, 'current'), 'utf8')
  assert.doesNotMatch(text, /basebackup|bootstrap from leader/)
  await succeed(await post('demo/scale', { instances: 2 }))
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
  const mend = await flipBit(path)
  try {
    const drill = await finish(await postWhenFree('demo/restore-drills'))
    assert.equal(drill.state, 'failed')
    assert.match(drill.error?.detail ?? '', new RegExp(`${newest?.label} is not proven`))
    assert.notEqual((await backups())[0]?.damage, '')
    // The full one that it needs may be sound: then that one is chosen.
    const { status, body } = await post('demo/fork', { name: 'broken', plan: true })
    const isOther = status === 200 && body.backup !== newest?.label
    assert.ok(isOther || status === 422, JSON.stringify(body))
  } finally {
    await mend()
  }
  const named = { backup: newest?.id }
  await succeed(await postWhenFree('demo/restore-drills', named))
  assert.equal((await backups())[0]?.damage, '')
})

async function told(kind: string, words = ''): Promise<Event> {
  return until<Event>(`${kind} to be told`, CHECK_TIMEOUT_MS, async () => {
    const events = await listEvents({ platform, cluster })
    const found = events.find((event) => event.kind === kind && event.message.includes(words))
    return found === undefined ? { seen: `${events.length} events` } : { value: found }
  })
}

const SEGMENT_FILE = /[0-9A-F]{24}-[0-9a-f]{40}\.zst$/

test('WAL that an instance still has is archived again, wherever it is', async () => {
  await sql({ cluster }, 'create table if not exists ledger (n integer primary key)')
  await sql({ cluster }, 'insert into ledger select generate_series(100000, 100100)')
  // A backup begins with a checkpoint, after which the instance has no more of it than the archive.
  await noneDue()
  const before = await findInRepository('archive', SEGMENT_FILE)
  await endSegment({ platform, cluster })
  const lost = await until('the segment to be archived', CHECK_TIMEOUT_MS, async () => {
    const newest = await findInRepository('archive', SEGMENT_FILE)
    return newest === before ? { seen: newest } : { value: newest }
  })
  await rm(lost)
  // The failovers before may have left segments of their own to repair.
  await told('archive.repaired', `${basename(lost).slice(0, 24)} from demo-`)
  assert.ok((await readdir(dirname(lost))).includes(basename(lost)))
})

/** Of every instance: as if it had been recycled long ago. */
async function loseSegment(name: string): Promise<void> {
  const { instances } = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  for (const { id, host } of instances) {
    const data = join(platform.home, 'hosts', host, 'data', id, 'pgdata')
    await rm(join(data, 'pg_wal', name), { force: true })
  }
}

test('WAL that is missing in the repository is told within a minute or so', async () => {
  await sql({ cluster }, 'insert into ledger select generate_series(1000, 2000)')
  await succeed(await postWhenFree('demo/restore-drills'))
  const lost = await findInRepository('archive', SEGMENT_FILE)
  await loseSegment(basename(lost).slice(0, 24))
  await rm(lost)
  const gap = await told('archive.gap')
  assert.match(gap.message, /is missing in its repository/)
  const beyond = await post('demo/fork', { name: 'beyond', plan: true })
  if (beyond.status !== 200) assert.equal(beyond.body.code, 'outside-window')
  await until('a backup to close the gap', OPERATION_TIMEOUT_MS, async () => {
    const [newest] = await backups()
    const isLater = Date.parse(newest?.started_at ?? '') >= Date.parse(gap.at) - 1000
    return isLater ? { value: true } : { seen: `the newest is of ${newest?.started_at}` }
  })
})

const THE_FLOOD = { restore_point: 'before-the-flood' }

/** A client at the endpoint hears it in PostgreSQL's own words, over the TLS that it checks. */
async function refusedAt(purpose: Endpoint['purpose'], words: string) {
  await until(`${purpose} to say ${words}`, OPERATION_TIMEOUT_MS, async () => {
    const answer = await sql({ cluster, purpose }, 'select 1').catch((error) => error)
    const said = `${answer.code} ${answer.message}; ${answer.hint}`
    return said === `57P03 cluster "demo" ${words}` ? { value: said } : { seen: said }
  })
}

test('a restore in place takes a cluster back, and can be undone', async () => {
  await sql({ cluster }, 'create table if not exists ledger (n integer primary key)')
  assert.equal((await post('demo/restore-points', { name: THE_FLOOD.restore_point })).status, 201)
  const before = Number(await present())
  await sql({ cluster }, 'insert into ledger select generate_series(5000, 6000)')
  const after = Number(await present())
  assert.equal((await postWhenFree('demo/restore', THE_FLOOD)).status, 422)
  const beyond = await post('demo/restore', { lsn: 'FF/0', confirm: 'demo' })
  assert.equal(beyond.status, 422, JSON.stringify(beyond.body))
  assert.match(beyond.body.detail, /from [0-9A-F]+\/[0-9A-F]+ to [0-9A-F]+\/[0-9A-F]+ can/)
  const begun = await postWhenFree('demo/restore', { ...THE_FLOOD, confirm: 'demo' })
  assert.equal(begun.status, 202, JSON.stringify(begun.body))
  const why = 'is being restored and accepts no connections until that is done'
  const hint = `howdah op watch ${begun.body.operation.id}`
  await Promise.all([
    refusedAt('write', `${why}; ${hint}`),
    refusedAt('write-direct', `${why}; ${hint}`),
  ])
  const restored = await succeed(begun)
  assert.equal(Number(await present()), before, JSON.stringify(restored))
  await follows('demo')
  const at = new Date(Date.parse(restored.started_at ?? '') - 10).toISOString()
  const lost = await post('demo/fork', { name: 'lost', at, plan: true })
  assert.equal(lost.status, 422, JSON.stringify(lost.body))
  assert.match(lost.body.detail, /was taken back by a restore/)

  await succeed(await postWhenFree('demo/restore/undo', { confirm: 'demo' }))
  assert.equal(Number(await present()), after)
  assert.equal((await post('demo/restore/undo', { confirm: 'demo' })).status, 409)
})

test('what is written after a restore can be had, and all be undone', LONG, async () => {
  // One that the undo before asked for would be newer than the point.
  await noneDue()
  const [start] = await backups()
  const again = { restore_point: 'before-the-rain' }
  assert.equal((await post('demo/restore-points', { name: again.restore_point })).status, 201)
  const before = Number(await present())
  await sql({ cluster }, 'insert into ledger select generate_series(7000, 8000)')
  const after = Number(await present())
  const restore = async () =>
    succeed(await postWhenFree('demo/restore', { ...again, confirm: 'demo' }))
  await restore()
  assert.equal(Number(await present()), before)
  await follows('demo')
  await sql({ cluster }, 'insert into ledger values (-1)')
  // From a backup of the timeline that was left: its WAL goes on along the new one.
  const from = { backup: start?.label, lsn: await currentLsn() }
  await fork('after-all', from, async (forked) =>
    assert.equal(Number(await present(forked)), before + 1),
  )

  // Again, and then all of it back: as it was before the first of the two.
  await restore()
  assert.equal(Number(await present()), before)
  await succeed(await postWhenFree('demo/backups', { type: 'full' }))
  await succeed(await postWhenFree('demo/restore/undo', { confirm: 'demo' }))
  assert.equal(Number(await present()), after)
  assert.equal((await post('demo/restore/undo', { confirm: 'demo' })).status, 409)
  // The undo asks for one, and a switchover refuses to wait while its begin takes long.
  await noneDue()
  // Both incarnations claimed the same timeline: archiving goes on all the same.
  await succeed(await post('demo/switchover'))
  await succeed(await postWhenFree('demo/backups', { type: 'full' }))
  await succeed(await postWhenFree('demo/restore-drills'))
})

test('a part of a segment of a left timeline does not stop the archive', LONG, async () => {
  await noneDue()
  await follows('demo')
  await succeed(await post('demo/switchover'))
  const { name, done, keep } = await leftSegment({ platform, cluster })
  // Another instance's part, which was archived before.
  await keep(1)
  await endSegment({ platform, cluster })
  await until('the first part to be archived', CHECK_TIMEOUT_MS, () =>
    existsSync(done) ? { value: true } : { seen: 'it waits' },
  )
  await rm(done)
  await keep(2)
  await endSegment({ platform, cluster })
  await until('the leader to go on without', CHECK_TIMEOUT_MS, async () => {
    const events = await listEvents({ platform, cluster })
    const found = events.find(
      ({ kind, message }) => kind === 'archive.repaired' && message.includes(name),
    )
    return found === undefined ? { seen: `${events.length} events` } : { value: true }
  })
  // The archiver sleeps for a minute after a failure, or until there is another one.
  await endSegment({ platform, cluster })
  await until('the archive to go on', CHECK_TIMEOUT_MS, async () => {
    const path = '/v1/clusters/demo/backup-status'
    const { body } = await platform.api<BackupStatus>('GET', path)
    return body.archive.waiting_segments === 0 ? { value: true } : { seen: JSON.stringify(body) }
  })
})

test('a restore that failed twice keeps what its undo needs', LONG, async () => {
  const here = await present()
  const kept = await backups()
  const path = await findInRepository('backup', new RegExp(`${kept[0]?.label}/backup.manifest$`))
  const request = { backup: kept[0]?.label, confirm: 'demo' }
  const failed: Operation[] = []
  await rename(dirname(path), `${dirname(path)}.away`)
  try {
    // The second finds everything stopped, and nobody who leads.
    for (const _ of ['first', 'second']) {
      const operation = await finish(await postWhenFree('demo/restore', request))
      assert.equal(operation.error?.step, 'fetch', JSON.stringify(operation.error))
      failed.push(operation)
      const why = 'accepts no connections, as it could not be restored'
      await refusedAt('read', `${why}; howdah op logs ${operation.id}`)
    }
  } finally {
    await rename(`${dirname(path)}.away`, dirname(path))
  }
  await succeed(await postWhenFree('demo/restore/undo', { confirm: 'demo' }))
  assert.equal(await present(), here)
  const labels = (await backups()).map(({ label }) => label)
  for (const { label } of kept) assert.ok(labels.includes(label), `${label} of ${labels.join()}`)
  for (const { id } of failed) {
    const again = await platform.api<Problem>('POST', `/v1/operations/${id}/retry`)
    assert.equal(again.status, 409, JSON.stringify(again.body))
  }
  assert.equal(await present(), here)
  await succeed(await postWhenFree('demo/restore-drills'))
})

/** Somebody else's: nothing of ours may remove it. */
const keepsake = () => join(platform.home, 'occupied', cluster.cluster.id, 'keepsake')

test('another name of a repository, or a place in use, is refused and left alone', async () => {
  const alias = join(platform.home, 'alias')
  await symlink(join(platform.home, 'backups'), alias)
  const wish = (name: string, path: string) =>
    platform.api<Problem>('POST', '/v1/repositories', { name, kind: 'directory', path })
  const refused = await wish('alias', alias)
  assert.deepEqual([refused.status, refused.body.code], [409, 'place-taken'])
  const path = join(platform.home, 'occupied')
  await mkdir(dirname(keepsake()), { recursive: true })
  for (const each of [path, dirname(keepsake())]) await chmod(each, 0o777)
  await writeFile(keepsake(), 'mine')
  assert.equal((await wish('occupied', path)).status, 201)
  // The second attempt as the first: it had not become a place of the cluster.
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    const moved = await finish(await postWhenFree('demo/repository', { repository: 'occupied' }))
    assert.equal(moved.error?.code, 'place-taken', JSON.stringify(moved))
  }
})

test('another repository takes over without a gap, the old one is read', LONG, async () => {
  await sql({ cluster }, 'create table if not exists ledger (n integer primary key)')
  await succeed(await postWhenFree('demo/restore-drills'))
  // One that begins only now would be in the way, or change the list.
  await noneDue()
  const before = await backups()
  const { body: moment } = await post('demo/restore-points', { name: 'before-the-move' })
  const there = await present()
  const path = join(platform.home, 'elsewhere')
  await mkdir(path)
  // For whoever the services run as.
  await chmod(path, 0o777)
  const wanted = { name: 'elsewhere', kind: 'directory', path }
  const added = await platform.api('POST', '/v1/repositories', wanted)
  assert.equal(added.status, 201, JSON.stringify(added.body))
  const moved = await platform.howdah(['cluster', 'change-repository', 'demo', 'elsewhere'], {
    timeoutMs: OPERATION_TIMEOUT_MS,
  })
  assert.equal(moved.code, 0, moved.stderr)
  await sql({ cluster }, 'insert into ledger values (-77)')
  await succeed(await postWhenFree('demo/restore-drills'))
  const now = await backups()
  assert.equal(now[0]?.type, 'full')
  assert.notEqual(now[0]?.repository_id, before[0]?.repository_id)
  assert.deepEqual(now.slice(-before.length), before)
  // A backup of the old repository goes on with the WAL of the new one.
  const from = { backup: before[0]?.label, lsn: await currentLsn() }
  await fork('old-way', from, async (forked) =>
    assert.equal(Number(await present(forked)), Number(there) + 1, JSON.stringify(moment)),
  )
  await fork('old-moment', { restore_point: 'before-the-move' }, async (forked) =>
    assert.equal(await present(forked), there),
  )
  const again = await post('demo/repository', { repository: 'local' })
  assert.equal(again.status, 409, JSON.stringify(again.body))
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
  assert.equal(await readFile(keepsake(), 'utf8'), 'mine')
  const reply = await post('demo/fork', { name: 'risen', instances: 1 })
  const operation = await succeed(reply)
  const risen = await readCluster(platform.api, reply.body, operation)
  assert.notEqual(await present(risen), '0')
})
