// What agents do with a repository, without a platform around it: one PostgreSQL, an S3 store over
// TLS, and the programs themselves. Everything that a task refuses is refused before anything runs.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { parseRepositoryAnswer } from '@howdah/core/backup-info.ts'
import type { RepositoryAccess, TaskAction } from '@howdah/core/protocol.ts'
import { renderPgbackrest } from '@howdah/core/render/pgbackrest.ts'
import type { RenderRepository, S3Storage } from '@howdah/core/render/repository.ts'
import { parseSegmentName, SEGMENT_BYTES } from '@howdah/core/wal.ts'
import { type HostRoot, openHostRoot } from '../../agent/src/host-root.ts'
import { runProgram } from '../../agent/src/run-program.ts'
import { moveData } from '../../agent/src/tasks/move-data.ts'
import { recoverData, restoreData } from '../../agent/src/tasks/recover-data.ts'
import { listArchive, probeRepository, runPgbackrest } from '../../agent/src/tasks/repository.ts'
import { runSql } from '../../agent/src/tasks/run-sql.ts'
import { isUnsynced, markUnsynced } from '../../agent/src/tasks/unsynced-data.ts'
import { createAuthority } from '../../control-plane/src/certificates.ts'
import { type FaultyS3, startFaultyS3 } from '../harness/faulty-s3.ts'
import { LONG } from '../harness/long.ts'
import { until } from '../harness/until.ts'

const BINARIES = '/usr/lib/postgresql/15/bin'
const STANZA = 'clu_00000000000000000000000001'
const PORT = 6433
const TIMEOUT_MS = 180_000
const TOMORROW = `${new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)} 00:00:00+00:00`

let base: string
let root: HostRoot
let store: FaultyS3
let server: ReturnType<typeof spawn>

before(async () => {
  base = await mkdtemp(join(tmpdir(), 'howdah-test-'))
  await chmod(base, 0o755)
  root = await openHostRoot(
    join(base, 'h'),
    userInfo().uid === 0 ? 'postgres' : userInfo().username,
  )
  store = await startFaultyS3()
  await startPostgresql()
})

after(async () => {
  server?.kill('SIGQUIT')
  if (server?.exitCode === null) await once(server, 'exit')
  await store?.[Symbol.asyncDispose]()
  await rm(base, { recursive: true, force: true })
})

const context = () => ({ root, timeoutMs: TIMEOUT_MS, signal: AbortSignal.timeout(TIMEOUT_MS) })
const dataContext = () => ({ ...context(), spec: undefined, appliedRevision: -1 })

function access(
  name: string,
  change: Partial<S3Storage> = {},
  cipherPass: string | null = 'a-pass-of-this-test',
): RepositoryAccess {
  const storage: S3Storage = {
    kind: 's3',
    endpoint: store.endpoint,
    port: store.port,
    bucket: store.bucket,
    region: 'us-east-1',
    uriStyle: 'path',
    prefix: 'deep/down',
    key: store.key,
    secret: store.secret,
    caPem: store.caPem,
    allowPrivate: true,
    ...change,
  }
  const repository: RenderRepository = {
    repositoryId: 'rep_1',
    clusterId: STANZA,
    storage,
    cipherPass,
    queueBytesMax: 1_073_741_824,
  }
  const data = join(root.path, 'data', name)
  const config = renderPgbackrest(repository, {
    dataDirectory: join(data, 'pgdata'),
    socketDirectory: join(root.path, 'run'),
    port: PORT,
    spoolDirectory: join(data, 'spool'),
    lockDirectory: join(data, 'lock'),
    caFile: undefined,
    patience: 'probe',
  })
  const host =
    storage.uriStyle === 'host' ? `${storage.bucket}.${storage.endpoint}` : storage.endpoint
  const endpoint = { host, allowPrivate: storage.allowPrivate }
  return { config: inSmallParts(config), caPem: storage.caPem, stanza: STANZA, endpoint }
}

/** As the data of a test are small, too: 5 MiB would be one part. */
const inSmallParts = (config: string) =>
  config.replace('[global]\n', '[global]\nrepo1-storage-upload-chunk-size=64KiB\n')

/** How many parts objects are put together from while `body` runs. */
async function countParts(body: () => Promise<unknown>): Promise<number> {
  const unchanged = { kind: 'slow' as const, bytesPerSecond: Number.POSITIVE_INFINITY }
  await store.misbehave({ fault: unchanged, concerns: /^PUT .*[?&]partNumber=/ })
  await body()
  // It goes on to count: an end would cut what archives, which then waits for a minute.
  return store.hits()
}

async function startPostgresql(): Promise<void> {
  const data = join(root.path, 'data/one/pgdata')
  const initdb = [`${BINARIES}/initdb`, '-D', data, '-U', 'postgres', '-A', 'trust', '-N', '-k']
  await runProgram({ argv: initdb as [string], timeoutMs: TIMEOUT_MS, user: root.dropTo })
  const files = { conf: access('one').config, crt: store.caPem }
  for (const [kind, text] of Object.entries(files)) {
    await writeFile(join(data, `test.${kind}`), text, { mode: 0o644 })
  }
  const push = `pgbackrest --config=${data}/test.conf --repo1-storage-ca-file=${data}/test.crt`
  const settings = [
    `port = ${PORT}`,
    "listen_addresses = ''",
    `unix_socket_directories = '${root.path}/run'`,
    'archive_mode = on',
    `archive_command = '${push} --stanza=${STANZA} archive-push "%p"'`,
    'track_commit_timestamp = on',
  ]
  await appendFile(join(data, 'postgresql.conf'), `${settings.join('\n')}\n`)
  await runPgbackrest(command('stanza-create', ['--no-online']), context())
  const user = root.dropTo
  server = spawn(`${BINARIES}/postgres`, ['-D', data], {
    stdio: 'ignore',
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
  })
  await until('PostgreSQL to answer', TIMEOUT_MS, async () =>
    query('select 1').then(
      () => ({ value: true }),
      (error: Error) => ({ seen: error.message }),
    ),
  )
}

async function query(...texts: string[]): Promise<Record<string, unknown>[]> {
  const connection = {
    host: `${root.path}/run`,
    port: PORT,
    user: 'postgres',
    database: 'postgres',
  }
  const statements = texts.map((text) => ({ text, params: [] }))
  const results = await runSql(
    { kind: 'sql', requireLeader: true, connection, statements },
    { rootPath: root.path, ...context() },
  )
  return (results.at(-1)?.rows ?? []) as Record<string, unknown>[]
}

/** One that nothing was written to would not end. */
async function switchSegment(): Promise<string> {
  const [row] = await query(
    "select pg_logical_emit_message(false, 'test', 'something')",
    'select pg_walfile_name(pg_switch_wal()) as name',
  )
  return String(row?.['name'])
}

/** Returns when it is archived. */
async function endSegment(): Promise<void> {
  const last = await switchSegment()
  await until('WAL to be archived', TIMEOUT_MS, async () => {
    const [row] = await query('select last_archived_wal as name from pg_stat_archiver')
    const isThere = String(row?.['name']) >= last
    return isThere ? { value: true } : { seen: JSON.stringify(row) }
  })
}

type PgbackrestAction = Extract<TaskAction, { kind: 'pgbackrest' }>

function command(name: PgbackrestAction['command'], options: string[] = []): PgbackrestAction {
  return { kind: 'pgbackrest', repository: access('one'), command: name, options, operands: [] }
}

async function info() {
  const { output } = await runPgbackrest(command('info', ['--output=json']), context())
  return parseRepositoryAnswer(output, STANZA)
}

test('a store is written, read and emptied again; what is wrong with it is said', async () => {
  const probe = (change: Partial<S3Storage> = {}) =>
    probeRepository(
      { kind: 'probe-repository', repository: access('one', change, null), place: randomUUID() },
      context(),
    )
  // Whoever comes first says what the place is called, and everybody finds that.
  const { place } = await probe()
  assert.equal((await probe()).place, place)
  const { bucket, endpoint } = store.named
  const named = await probe({ uriStyle: 'host', bucket, endpoint })
  assert.notEqual(named.place, place)
  assert.ok((await readdir(store.named.directory)).includes('deep'))
  const stranger = (await createAuthority('somebody else')).certificatePem
  const cases: [Partial<S3Storage>, RegExp][] = [
    // The store of this test knows keys, and does not check signatures.
    [{ key: 'NOBODY' }, /403 \(Forbidden\).* InvalidAccessKeyId/],
    [{ bucket: 'nobody' }, /404 \(Not Found\).* NoSuchBucket/],
    [{ caPem: stranger }, /unable to verify certificate/],
    [{ allowPrivate: false }, /private network/],
  ]
  for (const [change, says] of cases) {
    await assert.rejects(probe(change), says)
  }
  assert.deepEqual(await readdir(join(root.path, 'tasks')), [])
})

test('options and commands that are not listed are refused', async () => {
  for (const option of ['--repo1-path=/etc', '--pg1-path=/etc', '--cmd=x', '--config=/etc/x']) {
    await assert.rejects(runPgbackrest(command('info', [option]), context()), { code: 'refused' })
  }
})

test('a backup in the store is restored, replayed to a moment, and looked through', async () => {
  await query('create table public.ledger as select generate_series(1, 1000) as n')
  const full = command('backup', ['--type=full', '--annotation=operation=op_1'])
  const parts = await countParts(() => runPgbackrest(full, context()))
  assert.ok(parts > 10, `${parts} parts`)
  const [backup] = (await info()).backups
  assert.equal(backup?.operationId, 'op_1')
  const [moment] = await query(
    'insert into public.ledger values (1001)',
    'select pg_current_wal_insert_lsn()::text as lsn',
  )
  await query('insert into public.ledger values (1002)')
  await endSegment()
  const inventory = await listArchive({ repository: access('one'), archiveId: '15-1' }, context())
  assert.equal(inventory.ranges.length, 1)
  assert.ok(inventory.bytes > 0)
  // Also one directory at a time, where one that is not there holds nothing.
  const directories = ['0000000100000000', '0000000100000009']
  const listed = await listArchive(
    { repository: access('one'), archiveId: '15-1', directories },
    context(),
  )
  assert.deepEqual(listed.ranges, inventory.ranges)

  const dataDirectory = 'data/two/pgdata'
  const restore = { repository: access('two'), dataDirectory, label: backup?.label ?? '' }
  await restoreData({ kind: 'restore-data', ...restore }, dataContext())
  const action = {
    kind: 'recover-data' as const,
    repository: access('two'),
    dataDirectory,
    label: restore.label,
    binDirectory: BINARIES,
    superuser: 'postgres',
    port: PORT + 1,
    target: { kind: 'lsn' as const, value: String(moment?.['lsn']) },
    statements: [{ text: 'select count(*)::integer as n from public.ledger', params: [] }],
    amcheck: true,
  }
  const report = await recoverData(action, dataContext())
  assert.deepEqual(report?.rows, [{ n: 1001 }])
  assert.equal(report?.damage, '')
  assert.equal(report?.timeline, 2)
  assert.equal(report?.reachedEnd, false)
  assert.deepEqual(await readdir(join(root.path, 'tasks')), [])
  // Without its history in the archive nobody would find the timeline that begins here.
  const status = await readdir(join(root.path, dataDirectory, 'pg_wal', 'archive_status'))
  assert.ok(status.includes('00000002.history.ready'), status.join())

  // The end of the archive proves nothing about the moment: said also by a run after one that died.
  await restoreData({ kind: 'restore-data', ...restore }, dataContext())
  const late = { ...action, amcheck: false, target: { kind: 'time' as const, value: TOMORROW } }
  for (const run of ['first', 'again']) {
    const end = await recoverData(late, dataContext())
    assert.deepEqual([end?.rows, end?.reachedEnd], [[{ n: 1002 }], true], run)
  }
})

/** Programs of PostgreSQL, but for a server that waits before it starts for the second time. */
async function waitingBinaries(): Promise<{ path: string; second: string; go: string }> {
  const path = join(base, 'waiting')
  await mkdir(path, { mode: 0o777 })
  await chmod(path, 0o777)
  const [first, second, go] = ['first', 'second', 'go'].map((name) => join(path, name))
  const wait = `: >${second}; while [ ! -e ${go} ]; do sleep 0.05; done`
  const lines = [
    '#!/bin/sh',
    `if [ -e ${first} ]; then ${wait}; fi`,
    `: >${first}`,
    `exec ${BINARIES}/postgres "$@"`,
  ]
  await writeFile(join(path, 'postgres'), `${lines.join('\n')}\n`, { mode: 0o755 })
  for (const name of ['pg_controldata', 'initdb']) {
    await symlink(join(BINARIES, name), join(path, name))
  }
  return { path, second: second as string, go: go as string }
}

test('WAL that comes while a replay starts anew is beyond its moment, and left out', async () => {
  const [moment] = await query(
    `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00'
       as at, count(*)::integer as n from public.ledger`,
  )
  const [backup] = (await info()).backups
  const dataDirectory = 'data/two/pgdata'
  const restore = { repository: access('two'), dataDirectory, label: backup?.label ?? '' }
  await restoreData({ kind: 'restore-data', ...restore }, dataContext())
  const binaries = await waitingBinaries()
  const replay = recoverData(
    {
      kind: 'recover-data',
      repository: access('two'),
      dataDirectory,
      label: restore.label,
      binDirectory: binaries.path,
      superuser: 'postgres',
      port: PORT + 1,
      target: { kind: 'time', value: String(moment?.['at']) },
      statements: [{ text: 'select count(*)::integer as n from public.ledger', params: [] }],
      amcheck: false,
    },
    dataContext(),
  )
  await until('the replay to find no more', TIMEOUT_MS, () =>
    existsSync(binaries.second) ? { value: true } : { seen: 'its first server runs' },
  )
  await query('insert into public.ledger values (1003)')
  await endSegment()
  await writeFile(binaries.go, '')
  const report = await replay
  assert.deepEqual([report?.rows, report?.reachedEnd], [[{ n: moment?.['n'] }], true])
})

test('a replay that was cut short by a loss of power begins with the copy again', async () => {
  const [backup] = (await info()).backups
  const dataDirectory = 'data/two/pgdata'
  const label = backup?.label ?? ''
  const restore = { repository: access('two'), dataDirectory, label }
  await restoreData({ kind: 'restore-data', ...restore }, dataContext())
  // What a disk that was not asked to sync may keep, and all that an earlier run said of it.
  const directory = join(root.path, dataDirectory)
  await markUnsynced(root, directory)
  const [ledger] = await query("select pg_relation_filepath('public.ledger') as path")
  await truncate(join(directory, String(ledger?.['path'])), 0)
  const report = await recoverData(
    {
      kind: 'recover-data',
      ...restore,
      binDirectory: BINARIES,
      superuser: 'postgres',
      port: PORT + 1,
      target: { kind: 'immediate', value: '' },
      statements: [{ text: 'select count(*)::integer as n from public.ledger', params: [] }],
      amcheck: false,
    },
    dataContext(),
  )
  assert.deepEqual(report?.rows, [{ n: 1000 }])
  assert.equal(await isUnsynced(directory), false)
})

test('the end of a backup is restored although its timeline was left', async () => {
  const dataDirectory = 'data/two/pgdata'
  // What was recovered last archives where it left the first timeline, as an instance that leads.
  const history = join(root.path, dataDirectory, 'pg_wal/00000002.history')
  const config = join(root.path, 'data/one/pgdata/test.conf')
  const ca = `--repo1-storage-ca-file=${config.replace(/conf$/, 'crt')}`
  const where = [`--config=${config}`, ca, `--pg1-path=${join(root.path, dataDirectory)}`]
  const push = [`--stanza=${STANZA}`, '--no-archive-async', 'archive-push', history]
  const argv: [string, ...string[]] = ['/usr/bin/pgbackrest', ...where, ...push]
  await runProgram({ argv, timeoutMs: TIMEOUT_MS, user: root.dropTo })
  await runPgbackrest(command('backup', ['--type=full']), context())
  const label = (await info()).backups.at(-1)?.label ?? ''
  const restore = { repository: access('two'), dataDirectory, label }
  await restoreData({ kind: 'restore-data', ...restore }, dataContext())
  const report = await recoverData(
    {
      kind: 'recover-data',
      ...restore,
      binDirectory: BINARIES,
      superuser: 'postgres',
      port: PORT + 1,
      target: { kind: 'immediate', value: '' },
      statements: [{ text: 'select count(*)::integer as n from public.ledger', params: [] }],
      amcheck: false,
    },
    dataContext(),
  )
  const [present] = await query('select count(*)::integer as n from public.ledger')
  assert.deepEqual([report?.rows, report?.timeline], [[present], 3])
})

test('a store that refuses to be read is no store without backups', async () => {
  assert.ok((await info()).backups.length > 0)
  const refused = { ...command('info', ['--output=json']), repository: access('one', { key: 'X' }) }
  const { output } = await runPgbackrest(refused, context())
  assert.throws(() => parseRepositoryAnswer(output, STANZA), { code: 'repository-failed' })
})

test('a throttled backup reads no faster than it was told', LONG, async () => {
  const rate = 8_000_000
  const startedMs = performance.now()
  const slow = { ...command('backup', ['--type=full']), readBytesPerSecondMax: rate }
  await runPgbackrest(slow, context())
  const tookMs = performance.now() - startedMs
  const read = (await info()).backups.at(-1)?.info.read_bytes ?? 0
  // A look comes late by some milliseconds; what was read by then is read.
  assert.ok(tookMs > (0.8 * read * 1000) / rate, `${read} bytes in ${tookMs} ms`)
})

test('WAL that waits for a store that is away is bounded, and its loss is seen', LONG, async () => {
  const bound = 4 * SEGMENT_BYTES
  const path = join(root.path, 'data/one/pgdata/test.conf')
  const config = await readFile(path, 'utf8')
  const change = { 'archive-push-queue-max': bound, 'archive-timeout': 5 }
  const bounded = Object.entries(change).reduce(
    (text, [key, value]) => text.replace(new RegExp(`^${key}=.*$`, 'm'), `${key}=${value}`),
    config,
  )
  await endSegment()
  await writeFile(path, bounded)
  await store.stop()
  const first = await switchSegment()
  for (let written = 0; written <= 2 * bound; written += SEGMENT_BYTES) {
    await switchSegment()
    await until('no more WAL to wait than may', TIMEOUT_MS, async () => {
      const [{ waiting } = {}] = await query(
        `select count(*)::integer as waiting from pg_ls_archive_statusdir()
         where name like '%.ready'`,
      )
      const isWithin = Number(waiting) * SEGMENT_BYTES <= bound
      return isWithin ? { value: true } : { seen: `${waiting} segments wait` }
    })
  }
  // PostgreSQL was told that all is well: only who lists the archive knows better.
  const [{ last } = {}] = await query('select last_archived_wal as last from pg_stat_archiver')
  assert.ok(String(last) >= first, `${first} was not given up, but ${last}`)
  await store.start()
  await writeFile(path, config)
  await endSegment()
  const listed = await listArchive({ repository: access('one'), archiveId: '15-1' }, context())
  const number = parseSegmentName(first)?.number ?? Number.NaN
  const isHeld = listed.ranges.some((range) => range.first <= number && number <= range.last)
  assert.equal(isHeld, false)
  assert.ok(listed.ranges.some((range) => range.last > number))
})

test('what is removed from the store is gone', async () => {
  const gone = { ...command('repo-rm', ['--recurse']), operands: [] }
  await runPgbackrest(gone, context())
  const left = await readdir(store.directory, { recursive: true })
  assert.deepEqual(
    left.filter((path) => path.includes('backup.info')),
    [],
  )
})

test('data moves once, and only within the data of the host', async () => {
  const move = { from: 'data/two/pgdata', to: 'data/two/before' }
  await moveData(move, dataContext())
  await moveData(move, dataContext())
  for (const bad of [
    { from: 'config/x', to: 'data/y' },
    { from: 'data/none', to: 'data/nowhere' },
  ]) {
    await assert.rejects(moveData(bad, dataContext()), { code: 'refused' })
  }
})
