// Backups in an S3 store, over TLS with an authority of its own: what is wrong with a store is said
// before it is accepted, and a store that goes away is told and hurts nobody.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import type {
  Backup,
  BackupStatus,
  Repository,
  RestorePlan,
} from '@howdah/core/contract/backups.ts'
import type { Cluster, ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { createAuthority } from '../../control-plane/src/certificates.ts'
import {
  ARCHIVE_FAULTS,
  type ArchiveFault,
  endSegment,
  listEvents,
  sufferFault,
  waitTold,
  waitWhole,
} from '../harness/archive-faults.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { type FaultyS3, startFaultyS3 } from '../harness/faulty-s3.ts'
import { flipBit } from '../harness/flip-bit.ts'
import { findHomeProcesses } from '../harness/home-processes.ts'
import { connectPlatformDb } from '../harness/inventory.ts'
import { LONG } from '../harness/long.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 240_000
const FREE_TIMEOUT_MS = 240_000

let platform: TestPlatform
let store: FaultyS3
let cluster: TestCluster

before(async () => {
  store = await startFaultyS3()
  const environment = { HOWDAH_ARCHIVE_CHECK_SECONDS: '4' }
  platform = await startPlatform({ subnet: '127.103.0', environment })
})

after(async () => {
  await platform?.stop()
  await store?.[Symbol.asyncDispose]()
})

explainFailures(() => platform)

function add(change: Record<string, unknown>) {
  const { endpoint, port, bucket, key, secret } = store
  const body = {
    name: 'far',
    kind: 's3',
    endpoint,
    port,
    bucket,
    key,
    secret,
    uri_style: 'path',
    allow_private: true,
    ca_pem: store.caPem,
    ...change,
  }
  return platform.api<Repository & Problem>('POST', '/v1/repositories', body)
}

async function succeed(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  const operation = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

const post = (path: string, body: unknown) =>
  platform.api<OperationAccepted & Problem>('POST', `/v1/clusters/${path}`, body)

/** A backup may be running because it is its time: then what is asked for waits for it. */
async function postWhenFree(path: string, body: unknown = {}) {
  return until(`${path} to be accepted`, FREE_TIMEOUT_MS, async () => {
    const reply = await post(`demo/${path}`, body)
    return reply.status === 409 ? { seen: reply.body.detail } : { value: reply }
  })
}

const drill = () => postWhenFree('restore-drills')

test('a store that does not do what it should is not accepted, and says why', LONG, async () => {
  const stranger = (await createAuthority('somebody else')).certificatePem
  const cases: [Record<string, unknown>, RegExp][] = [
    // The test's store knows keys, and does not check signatures.
    [{ key: 'NOBODY' }, /403|forbidden/i],
    [{ ca_pem: stranger }, /certificate|verif|TLS/i],
    [{ bucket: 'nobody' }, /NoSuchBucket|404/],
    [{ port: 1 }, /refused|connect/i],
    [{ allow_private: false }, /private network/],
  ]
  for (const [change, says] of cases) {
    const reply = await add(change)
    assert.equal(reply.status, 422, JSON.stringify(reply.body))
    assert.match(reply.body.detail, says)
    assert.doesNotMatch(JSON.stringify(reply.body), /S3RVER/)
  }
  const { body } = await platform.api<{ data: Repository[] }>('GET', '/v1/repositories')
  assert.deepEqual(
    body.data.map(({ name }) => name),
    ['local'],
  )
})

test('a cluster is backed up there, proven and forked', async () => {
  const added = await add({})
  assert.equal(added.status, 201, JSON.stringify(added.body))
  assert.doesNotMatch(JSON.stringify(added.body), /S3RVER/)
  // Nothing in its settings says so: the place itself does.
  const alias = await add({ name: 'alias', region: 'eu-central-1' })
  assert.deepEqual([alias.status, alias.body.code], [409, 'place-taken'])
  cluster = await platform.createCluster('demo', { instances: 1, repository: 'far' })
  await until('the first backup', FREE_TIMEOUT_MS, async () => {
    const path = '/v1/clusters/demo/backups'
    const { body } = await platform.api<{ data: Backup[] }>('GET', path)
    return body.data.length > 0 ? { value: true } : { seen: 'none' }
  })
  assert.ok((await readdir(store.directory)).includes(cluster.cluster.id))
  await sql({ cluster }, 'create table ledger as select generate_series(1, 1000) as n')
  await succeed(await drill())
  const body = { name: 'twin', instances: 1 }
  const reply = await platform.api<ClusterAccepted>('POST', '/v1/clusters/demo/fork', body)
  const twin = await readCluster(platform.api, reply.body, await succeed(reply))
  const [row] = await sql<{ n: number }>(
    { cluster: twin },
    'select count(*)::integer as n from ledger',
  )
  assert.equal(row?.n, 1000)
})

async function newestBackup(name = 'demo'): Promise<Backup | undefined> {
  const path = `/v1/clusters/${name}/backups`
  return (await platform.api<{ data: Backup[] }>('GET', path)).body.data[0]
}

test('a drill that cannot read the store says nothing about the backup', async () => {
  const before = await newestBackup()
  assert.notEqual(before?.proven_at ?? null, null)
  const refuse = { kind: 'answer' as const, status: 403, code: 'AccessDenied' }
  await store.misbehave({ fault: refuse, concerns: /^GET .*\/backup\.manifest/ })
  try {
    const reply = await drill()
    const operation = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
    assert.ok(store.hits() > 0)
    assert.equal(operation.error?.code, 'repository-failed', JSON.stringify(operation))
    assert.match(operation.error?.detail ?? '', /nothing is known of/)
  } finally {
    await store.misbehave(undefined)
  }
  assert.deepEqual(await newestBackup(), before)
})

test('a restore in place from a store that cannot be read stops nothing', async () => {
  const backup = (await newestBackup())?.label
  const refuse = { kind: 'answer' as const, status: 403, code: 'AccessDenied' }
  await store.misbehave({ fault: refuse, concerns: /^GET .*\/backup\.info/ })
  try {
    const reply = await postWhenFree('restore', { backup, confirm: 'demo' })
    const { error } = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
    assert.ok(store.hits() > 0)
    assert.deepEqual([error?.step, error?.code], ['choose', 'repository-failed'], error?.detail)
    const { body } = await platform.api<Cluster>('GET', '/v1/clusters/demo')
    assert.equal(body.state, 'available', body.message)
    const [row] = await sql<{ n: number }>({ cluster }, 'select count(*)::integer as n from ledger')
    assert.equal(row?.n, 1000)
  } finally {
    await store.misbehave(undefined)
  }
})

// What may happen to a store is more than fits here: `npm run backup-faults` tries all of it.
for (const [name, options] of [
  ['away', {}],
  ['forgets', LONG],
] as const) {
  const says = `a store that fails (${name}) is told, clients notice nothing, it catches up`
  test(says, options, async () => {
    const fault = ARCHIVE_FAULTS.find((one) => one.name === name) as ArchiveFault
    const { writer } = await sufferFault({ platform, cluster, store }, fault)
    assert.deepEqual(writer.errors, [])
    assert.equal(writer.lost, 0)
  })
}

/** As the leader's archiving is configured now. */
async function renderedKey(): Promise<string> {
  const [leader] = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body.instances
  const config = join(platform.home, 'hosts', leader?.host ?? '', 'config', leader?.id ?? '')
  const text = await readFile(join(config, 'pgbackrest.conf'), 'utf8')
  return /^repo1-s3-key=(.+)$/m.exec(text)?.[1] ?? ''
}

/** A look, and a program that archives, go on with the key that they began with. */
async function oldKeyUnused(): Promise<void> {
  const db = await connectPlatformDb(platform)
  try {
    const { rows: begun } = await db.query<{ id: string }>(
      "select id from task where state = 'pending'",
    )
    const ids = begun.map(({ id }) => id)
    // Those that look at the archive begin every few seconds: what begins from now on has the new
    // key, and to wait for a moment without any would be to wait for luck.
    const old = new Set(programs())
    await until('what began with the old key to end', FREE_TIMEOUT_MS, async () => {
      const { rows: left } = await db.query<{ id: string }>(
        "select id from task where state = 'pending' and id = any($1)",
        [ids],
      )
      const still = programs().filter((program) => old.has(program))
      const isEnded = left.length === 0 && still.length === 0
      const seen = `${left.length} tasks, programs: ${still.join('; ')}`
      return isEnded ? { value: true } : { seen }
    })
  } finally {
    await db.end()
  }
}

/** Those of pgBackRest that run now; the doors stay, and have no key of the store. */
function programs(): string[] {
  return findHomeProcesses(platform.home)
    .filter(({ argv }) => basename(argv[0] ?? '') === 'pgbackrest' && argv.at(-1) !== 'server')
    .map(({ pid, argv }) => `${pid} ${argv.join(' ')}`)
}

test('keys of a store change while it is archived to, and no moment is lost', LONG, async () => {
  const stage = { platform, cluster, store }
  const known = new Set((await listEvents(stage)).map(({ id }) => id))
  const path = '/v1/repositories/far'
  const stale = await platform.api<Problem>('PATCH', path, {}, { 'if-match': '"99"' })
  assert.equal(stale.status, 412, JSON.stringify(stale.body))
  const wrong = { key: 'NOBODY', secret: 'NOTHING' }
  const refused = await platform.api<Problem>('PATCH', path, wrong, { 'if-match': '*' })
  assert.equal(refused.status, 422, JSON.stringify(refused.body))
  assert.equal(await renderedKey(), store.key)
  store.addKey('SECOND', 'OF-THE-SECOND')
  const file = join(platform.home, 'second-secret')
  await writeFile(file, 'OF-THE-SECOND\n')
  const flags = ['--key', 'SECOND', '--secret-file', file]
  const updated = await platform.howdah(['repo', 'update', 'far', ...flags])
  assert.equal(updated.code, 0, updated.stderr)
  await until('the new key to be rendered', 30_000, async () => {
    const key = await renderedKey()
    return key === 'SECOND' ? { value: true } : { seen: key }
  })
  await oldKeyUnused()
  store.revokeKey(store.key)
  // Two: of the last one that has ended nobody can say yet that it is archived.
  for (let count = 0; count < 2; count += 1) await endSegment(stage)
  await waitWhole(stage)
  const fresh = (await listEvents(stage)).filter(({ id }) => !known.has(id))
  // What the store forgot before may be repaired only now.
  const good = ['archive.repaired', 'archive.whole', 'archive.works']
  const kinds = fresh.map(({ kind }) => kind).filter((kind) => kind.startsWith('archive.'))
  assert.deepEqual(
    kinds.filter((kind) => !good.includes(kind)),
    [],
  )
})

/** The newest of those that are there; whose middle is what was written, not the end of a cut. */
async function archiveSegment(): Promise<{ name: string; path: string; lsn: string }> {
  await endSegment({ platform, cluster })
  const noise = 'select md5(random()::text) as text from generate_series(1, 40000)'
  await sql({ cluster }, `create table noise as ${noise}`)
  const text = 'select pg_walfile_name(lsn) as name, lsn::text from pg_current_wal_lsn() as lsn'
  const [row] = await sql<{ name: string; lsn: string }>({ cluster }, text)
  await endSegment({ platform, cluster })
  const { name, lsn } = row as { name: string; lsn: string }
  const top = join(store.directory, cluster.cluster.id, 'archive')
  return until('the segment to be archived', FREE_TIMEOUT_MS, async () => {
    const paths = await readdir(top, { recursive: true })
    const found = paths.find((path) => path.includes(`${name}-`) && path.endsWith('_object'))
    return found === undefined ? { seen: name } : { value: { name, path: join(top, found), lsn } }
  })
}

test('a segment that a store broke is a gap, and ends no restore unsaid', LONG, async () => {
  const stage = { platform, cluster, store }
  const known = new Set((await listEvents(stage)).map(({ id }) => id))
  const before = await newestBackup()
  const { name, path, lsn } = await archiveSegment()
  await flipBit(path)
  const at = new Date().toISOString()
  const { error } = await forkToNow('demo', 'short-of-it')
  assert.equal(error?.step, 'replay', error?.detail)
  assert.match(error?.detail ?? '', new RegExp(`^replay ended at .* in ${name}, before .*: .+`))
  const reply = await postWhenFree('restore-drills', { backup: before?.id })
  const { error: said } = await platform.waitOperation(
    reply.body.operation.id,
    OPERATION_TIMEOUT_MS,
  )
  assert.equal(said?.code, 'backup-damaged', JSON.stringify(said))
  assert.match(
    said?.detail ?? '',
    new RegExp(`^WAL behind ${before?.label} is broken.* in ${name}`),
  )
  const gap = await waitTold(stage, known, ['archive.gap'])
  assert.match(gap.message, new RegExp(`is missing in its repository: ${name}$`))
  // Nobody can tell whether a time is before the gap: nothing is stopped for it.
  const refused = [
    await post('demo/restore', { at, backup: before?.id, confirm: 'demo' }),
    await post('demo/fork', { name: 'never', lsn, backup: before?.id }),
  ]
  for (const { status, body } of refused) {
    assert.deepEqual([status, body.code], [422, 'outside-window'], JSON.stringify(body))
    assert.match(body.detail, new RegExp(`WAL is missing .*${name}`))
  }
  const next = await until('a backup to begin the window anew', FREE_TIMEOUT_MS, async () => {
    const newest = await newestBackup()
    const isLater = Date.parse(newest?.stopped_at ?? '') >= Date.parse(gap.at)
    return isLater ? { value: newest } : { seen: `the newest is of ${newest?.stopped_at}` }
  })
  assert.notEqual(next?.id, before?.id)
  const status = await backupStatus()
  assert.doesNotMatch(status.state, /broken/, status.message)
  const latest = await post('demo/fork', { name: 'whole-again', plan: true })
  assert.equal((latest.body as unknown as RestorePlan).backup, next?.label)
})

const backupStatus = async () =>
  (await platform.api<BackupStatus>('GET', '/v1/clusters/demo/backup-status')).body
const backups = async () =>
  (await platform.api<{ data: Backup[] }>('GET', '/v1/clusters/demo/backups')).body.data

test('an emptied store is told, and not begun anew; another one is the way out', LONG, async () => {
  const stage = { platform, cluster, store }
  const place = join(store.directory, cluster.cluster.id)
  const empty = async () => {
    const known = new Set((await listEvents(stage)).map(({ id }) => id))
    await rename(place, `${place}.away`)
    const gone = await waitTold(stage, known, ['archive.gone'])
    assert.match(gone.message, /nothing is left of the backups.* howdah cluster change-repository/)
  }
  await empty()
  const there = await backups()
  const { state, message } = await backupStatus()
  assert.equal(state, 'broken', message)
  const reply = await postWhenFree('backups')
  const { error } = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
  assert.deepEqual([error?.step, error?.code], ['prepare', 'repository-failed'], error?.detail)
  assert.match(error?.detail ?? '', /^nothing is left of the backups that were there; mount/)
  assert.equal(existsSync(place), false)
  assert.deepEqual(await backups(), there)
  // As a disk that is mounted again.
  await rename(`${place}.away`, place)
  await until('a look to find it', FREE_TIMEOUT_MS, async () => {
    const now = await backupStatus()
    return now.state === 'broken' ? { seen: now.message } : { value: now }
  })
  await endSegment(stage)
  await waitWhole(stage)
  assert.equal((await newestBackup())?.label, there[0]?.label)

  await empty()
  store.addKey('THIRD', 'OF-THE-THIRD')
  const named = { ...store.named, name: 'named', uri_style: 'host', directory: undefined }
  const added = await add({ ...named, key: 'THIRD', secret: 'OF-THE-THIRD' })
  assert.equal(added.status, 201, JSON.stringify(added.body))
  await succeed(await postWhenFree('repository', { repository: 'named' }))
  assert.ok((await readdir(store.named.directory)).includes(cluster.cluster.id))
  assert.equal((await newestBackup())?.repository, 'named')
  const after = await backupStatus()
  assert.doesNotMatch(after.state, /broken|none/, after.message)
})

test('after all of this a backup is proven', LONG, async () => {
  await succeed(await drill())
})

async function purge(name: string): Promise<void> {
  const body = { confirm: name, purge: true, keep_backups: true }
  const path = `/v1/clusters/${name}`
  await succeed(await platform.api('DELETE', path, body, { 'if-match': '*' }))
}

/** To a moment that nothing of it was written after. */
async function forkToNow(source: string, name: string): Promise<Operation> {
  const body = { name, instances: 1, at: new Date().toISOString() }
  const path = `/v1/clusters/${source}/fork`
  const reply = await platform.api<ClusterAccepted>('POST', path, body)
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  return platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
}

test('a deleted cluster is forked to its end where its WAL was seen', LONG, async () => {
  await until('a backup of the twin', FREE_TIMEOUT_MS, async () => {
    const found = await newestBackup('twin')
    return found === undefined ? { seen: 'none' } : { value: found }
  })
  await purge('twin')
  const whole = await forkToNow('twin', 'whole')
  assert.equal(whole.state, 'succeeded', JSON.stringify(whole.error))
  await store.misbehave({ fault: { kind: 'answer', status: 503, code: 'SlowDown' } })
  try {
    await sql({ cluster }, 'insert into ledger values (-1)')
    await purge('demo')
  } finally {
    await store.misbehave(undefined)
  }
  const { error } = await forkToNow('demo', 'short')
  assert.deepEqual([error?.step, error?.code], ['replay', 'repository-failed'], error?.detail)
  assert.match(error?.detail ?? '', /before that moment: WAL is missing/)
})
