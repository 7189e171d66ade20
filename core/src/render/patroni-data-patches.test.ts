// Goal: what a rewind, a copy or a removal leaves when it is broken off is never started, and never
// waits for a human. Method: Patroni's own classes, with programs of PostgreSQL that look, and end
// or kill their Patroni as told; then another Patroni starts.
import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { withPatches } from '../testing/with-patches.ts'

/** argv: the place, then what to do. Prints what came of it, and what is there in the end. */
const PATRONI = `
import os, resource, shutil, sys
from patroni.ha import Ha
from patroni.postgresql import Postgresql
from patroni.postgresql.rewind import Rewind

place, act = sys.argv[2:4]
login = {'username': 'me', 'password': 'secret'}
postgresql = Postgresql({
    'name': 'me-1', 'scope': 'me', 'data_dir': place + '/pgdata', 'bin_dir': place,
    'listen': '127.0.0.1:1', 'connect_address': '127.0.0.1:1', 'retry_timeout': 10,
    'pgpass': place + '/pgpass', 'use_pg_rewind': True, 'parameters': {},
    'authentication': {'superuser': login, 'replication': login, 'rewind': login}})

def break_off(*args):
    os.unlink(place + '/pgdata/whole')
    os._exit(9)

if act == 'look without a file':
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    print(postgresql.data_directory_empty())
if act == 'start':
    ha = type('Ha', (), {'state_handler': postgresql})()
    ha.cluster = type('Cluster', (), {'is_unlocked': lambda self: True})()
    print(postgresql.data_directory_empty(), postgresql.major_version)
    if postgresql.data_directory_empty():
        print(postgresql.start(), Ha.bootstrap(ha))
if act == 'rewind':
    print(Rewind(postgresql).pg_rewind({'host': 'leader', 'port': '1', **login}))
if act == 'recover and rewind':
    from patroni.postgresql.rewind import Rewind
    follows = type('Leader', (), {'name': sys.argv[4]})()
    ha = type('Ha', (), {'state_handler': postgresql, '_crash_recovery_executed': True})()
    ha.cluster = type('Cluster', (), {'leader': follows, 'is_unlocked': lambda self: False})()
    Ha._handle_crash_recovery(ha)
    rewind = Rewind(postgresql)
    print(rewind.ensure_clean_shutdown(), rewind.pg_rewind({'host': 'l', 'port': '1', **login}))
if act == 'copy':
    leader = type('Leader', (), {'conn_url': 'postgres://leader:1/'})()
    leader.conn_kwargs = lambda auth: {'host': 'leader', 'port': '1', 'user': 'me'}
    print(postgresql.bootstrap.create_replica(leader))
if act == 'remove':
    shutil.rmtree = break_off
    postgresql.remove_data_directory()
`

/**
 * argv: the place, the title of the replica's startup process, the leader and its oldest WAL, and
 * whether the cluster is paused. Ends with 1 as the patch does, or by itself after a minute of a
 * clock that does not wait.
 */
const BEHIND = `
import os, sys, threading, time
from types import SimpleNamespace as Some
from unittest.mock import MagicMock
from patroni import psycopg
from patroni.ha import Ha

place, title, leads, oldest, paused = sys.argv[2:7]
now, ready, over = [0], threading.Event(), threading.Event()

def sleep(seconds):
    if seconds < 5:
        # Another patch's thread, which looks for its agent.
        threading.Event().wait()
    ready.wait()
    now[0] += seconds
    if now[0] > 60:
        over.set()
        threading.Event().wait()

time.sleep, time.monotonic = sleep, lambda: now[0]
asked = []

def connect(**login):
    asked.append((login['host'], login['user']))
    return MagicMock(**{'cursor.return_value.__enter__.return_value.fetchone': lambda: (oldest,)})

psycopg.connect = connect
startup = Some(cmdline=lambda: ['postgres: me: ' + title, '', ''])
other = Some(cmdline=lambda: ['postgres: me: checkpointer'])
wal = place + '/pgdata/pg_wal'
postgresql = MagicMock(data_dir=place + '/pgdata', wal_dir=wal, major_version=150000)
postgresql.name = 'me-1'
postgresql.config.superuser = {'username': 'me'}
postgresql.is_running = lambda: Some(children=lambda: [other, startup])
leader = Some(name=leads, conn_url='postgres://')
leader.conn_kwargs = lambda auth: {'host': leads, 'user': auth['username']}
Ha.is_paused = lambda self: paused == 'yes'
ha = Ha(MagicMock(postgresql=postgresql))
ha.cluster = Some(leader=leader)
ready.set()
over.wait(20)
print(over.is_set())
sys.stdout.flush()
os._exit(0)
`

let place: string
const data = () => join(place, 'pgdata')

before(async () => {
  place = await mkdtemp('/tmp/hwd-')
  for (const name of ['postgres', 'pg_controldata']) await program(name, '')
})
after(() => rm(place, { recursive: true, force: true }))

/** A directory that is whole, and was not written by any of the programs. */
async function makeWhole(): Promise<void> {
  await mkdir(join(data(), 'global'), { recursive: true, mode: 0o700 })
  await writeFile(join(data(), 'PG_VERSION'), '15\n')
  await writeFile(join(data(), 'global', 'pg_control'), '')
  await writeFile(join(data(), 'whole'), '')
}

beforeEach(async () => {
  await rm(data(), { recursive: true, force: true })
  for (const name of ['unfinished', 'ended']) await rm(`${data()}.${name}`, { force: true })
  await makeWhole()
})

/** With $PPID, the Patroni, as what a loss of power takes too. */
async function program(name: string, script: string): Promise<void> {
  await writeFile(join(place, name), `#!/bin/sh\n${script}\n`)
  await chmod(join(place, name), 0o755)
}

async function patroni(
  act: string,
  ...args: string[]
): Promise<{ said: string; told: string; left: string[] }> {
  const { stdout, stderr } = await withPatches(PATRONI, place, act, ...args).catch((error) => error)
  const left = await readdir(data()).catch(() => ['nothing'])
  const isMarked = (await readdir(place)).includes('pgdata.unfinished')
  const told = stderr.split('\n').filter((line: string) => line.startsWith('howdah:'))
  return {
    said: stdout.trim(),
    told: told.join(' '),
    left: [...left.filter((name) => name !== 'global'), ...(isMarked ? ['marked'] : [])],
  }
}

const NOT_WHOLE = () => `howdah: ${data()} is not whole`
const WHOLE = ['PG_VERSION', 'whole']
const REWINDS = `echo 'rewinding from last common checkpoint' >&2`
/** Whether it is taken for empty, its version; whether it starts then, and what it waits for. */
const TAKEN_AS_WHOLE = { said: 'False 150000', told: '', left: WHOLE }
const TAKEN_AS_EMPTY = 'True 150000\nFalse waiting for a leader to copy from'

test('a directory that was rewound is started', async () => {
  await program('pg_rewind', REWINDS)
  assert.deepEqual(await patroni('rewind'), { said: 'True', told: '', left: WHOLE })
  assert.deepEqual(await patroni('start'), TAKEN_AS_WHOLE)
})

test('a rewind that loses its power is not started, and not removed without a leader', async () => {
  await program('pg_rewind', `rm ${data()}/whole; kill -KILL $PPID`)
  const left = ['PG_VERSION', 'marked']
  assert.deepEqual((await patroni('rewind')).left, left)
  assert.deepEqual(await patroni('start'), { said: TAKEN_AS_EMPTY, told: NOT_WHOLE(), left })
  await program('pg_basebackup', `touch ${data()}/whole`)
  assert.deepEqual(await patroni('copy'), { said: '0', told: NOT_WHOLE(), left: ['whole'] })
})

test('a rewind that fails after it began to write, or is killed, is not started', async () => {
  for (const end of [`${REWINDS}; exit 1`, 'kill -KILL $$']) {
    await program('pg_rewind', end)
    const { said, left } = await patroni('rewind')
    assert.deepEqual([said, left], ['False', [...WHOLE, 'marked']])
    assert.equal((await patroni('start')).said, TAKEN_AS_EMPTY)
    await rm(`${data()}.unfinished`)
  }
})

test('a rewind that could not begin has changed nothing', async () => {
  await program('pg_rewind', `echo 'could not connect to server' >&2; exit 1`)
  assert.deepEqual(await patroni('rewind'), { said: 'False', told: '', left: WHOLE })
  await rm(join(place, 'pgpass'), { force: true })
  await mkdir(join(place, 'pgpass'))
  assert.deepEqual(await patroni('rewind'), { said: '', told: '', left: WHOLE })
  await rm(join(place, 'pgpass'), { recursive: true })
  assert.deepEqual(await patroni('start'), TAKEN_AS_WHOLE)
})

test('a leader that can open no file is as whole as before', async () => {
  assert.deepEqual(await patroni('look without a file'), { said: 'False', told: '', left: WHOLE })
})

test('a copy that ends is started, also one that was tried twice', async () => {
  const once = `test -e ${place}/tried || { touch ${place}/tried; exit 1; }`
  const check = `test -e ${data()}.unfinished && test -z "$(ls ${data()})" || exit 1`
  await program('pg_basebackup', `${check}; touch ${data()}/part; ${once}; touch ${data()}/whole`)
  assert.deepEqual(await patroni('copy'), { said: '0', told: '', left: ['part', 'whole'] })
  assert.match((await patroni('start')).said, /^False 0$/)
})

test('a copy that loses its power is not started', async () => {
  await program('pg_basebackup', `echo 15 > ${data()}/PG_VERSION; kill -KILL $PPID`)
  const left = ['PG_VERSION', 'marked']
  assert.deepEqual((await patroni('copy')).left, left)
  assert.deepEqual(await patroni('start'), { said: TAKEN_AS_EMPTY, told: NOT_WHOLE(), left })
})

test('a removal that loses its power is not started', async () => {
  const left = ['PG_VERSION', 'marked']
  assert.deepEqual((await patroni('remove')).left, left)
  assert.deepEqual(await patroni('start'), { said: TAKEN_AS_EMPTY, told: NOT_WHOLE(), left })
})

test('a mark of a directory that a restore replaced says nothing of the new one', async () => {
  await program('pg_rewind', 'kill -KILL $PPID')
  await patroni('rewind')
  // Its number is free, and is most likely used again.
  await rm(data(), { recursive: true })
  await makeWhole()
  assert.deepEqual(await patroni('start'), TAKEN_AS_WHOLE)
})

/** A former leader, its WAL and what recovers it: both say more once that has run. */
async function makeFormerLeader(state: string): Promise<void> {
  const control = (
    stateNow: string,
    checkpoint: string,
  ) => `echo 'Database cluster state: ${stateNow}
Latest checkpoint location: ${checkpoint}
Latest checkpoint'"'"'s TimeLineID: 3
Latest checkpoint'"'"'s REDO location: 0/10
Bytes per WAL segment: 16777216'`
  await program('pg_controldata', control(state, '0/20'))
  await program('pg_waldump', 'echo "$*: the end" >&2; exit 1')
  await program('pg_controldata.next', control('shut down', '0/90'))
  await program('pg_waldump.next', 'echo "the end of its recovery" >&2; exit 1')
  const next = ['pg_controldata', 'pg_waldump'].map(
    (name) => `mv ${place}/${name}.next ${place}/${name}`,
  )
  await program('postgres', `case $1 in --single) ${next.join('; ')}; esac`)
}

async function keptEnd(): Promise<unknown> {
  return JSON.parse(await readFile(`${data()}.ended`, 'utf8'))
}

test('how far a former leader came is kept before it is rewound', async (t) => {
  t.after(() => Promise.all(['postgres', 'pg_controldata'].map((name) => program(name, ''))))
  await makeFormerLeader('shut down')
  await program('pg_rewind', `test -e ${data()}.ended || exit 1`)
  assert.deepEqual(await patroni('rewind'), { said: 'True', told: '', left: WHOLE })
  const argv = `--quiet --path ${data()}/pg_wal --timeline 3 --start 0/10`
  const kept = { timeline: 3, segmentBytes: 16 * 2 ** 20, said: `${argv}: the end\n` }
  assert.deepEqual(await keptEnd(), kept)
})

test('what the recovery before a rewind writes is not counted', async (t) => {
  t.after(() => Promise.all(['postgres', 'pg_controldata'].map((name) => program(name, ''))))
  await program('pg_rewind', '')
  await makeFormerLeader('in production')
  assert.equal((await patroni('recover and rewind', 'me-2')).said, 'True True')
  assert.match(JSON.stringify(await keptEnd()), /: the end\\n/)
  // Nobody else leads: its recovery waits for nothing.
  await rm(`${data()}.ended`)
  await makeFormerLeader('in production')
  assert.equal((await patroni('recover and rewind', 'me-1')).said, 'True True')
  assert.match(JSON.stringify(await keptEnd()), /the end of its recovery/)
})

test('an end that cannot be told hinders no rewind, and an older one is no end', async (t) => {
  t.after(() => Promise.all(['postgres', 'pg_controldata'].map((name) => program(name, ''))))
  await makeFormerLeader('shut down')
  await writeFile(`${data()}.ended`, 'of an earlier time')
  await rm(join(place, 'pg_waldump'))
  await program('pg_rewind', '')
  const { said, told } = await patroni('rewind')
  assert.equal(said, 'True')
  assert.match(told, /^howdah: cannot tell where its WAL ends/)
  await assert.rejects(keptEnd(), { code: 'ENOENT' })
})

test('a replica that is copied anew has no end to keep', async (t) => {
  t.after(() => Promise.all(['postgres', 'pg_controldata'].map((name) => program(name, ''))))
  await makeFormerLeader('shut down in recovery')
  await writeFile(`${data()}.ended`, 'of the time when it led')
  await program('pg_rewind', '')
  await patroni('rewind')
  assert.equal(await readFile(`${data()}.ended`, 'utf8'), 'of the time when it led')
})

/** A segment as PostgreSQL begins it; one that is kept for later use has another's address. */
async function segment(name: string, address: bigint): Promise<void> {
  const content = Buffer.alloc(16 * 1024 ** 2)
  content.writeBigUInt64LE(address, 8)
  await writeFile(join(data(), 'pg_wal', name), content)
}

test('a replica that waits for WAL that is gone is copied anew', async () => {
  await mkdir(join(data(), 'pg_wal'))
  await segment('0000000300000000000000FF', 0xff000000n)
  await segment('000000030000000100000000', 0x12000000n)
  await segment('000000030000000100000010', 0x110000000n)
  await segment('000000030000000100000011', 0x111000000n)
  const recovers = 'startup recovering 0000000300000000000000FF'
  const waits = 'startup waiting for 0000000300000000000000FE'
  const tries = [
    [recovers, 'me-2', '0000000100000001', 'no', 'howdah: the WAL after 00000000000000FF is gone'],
    [waits, 'me-2', '00000000000000FF', 'no', 'howdah: the WAL after 00000000000000FE is gone'],
    [recovers, 'me-2', '0000000100000000', 'no', 'True'],
    [recovers, 'me-2', '0000000100000001', 'yes', 'True'],
    [recovers, 'me-1', '0000000100000001', 'no', 'True'],
    ['startup recovering 000000030000000100000010', 'me-2', '0000000200000000', 'no', 'True'],
    ['walreceiver streaming 0/1', 'me-2', '0000000200000000', 'no', 'True'],
  ] as const
  const end = ([title, leader, oldest, paused]: (typeof tries)[number]) =>
    withPatches(BEHIND, place, title, leader, oldest, paused).then(
      ({ stdout }) => stdout.trim(),
      (error: { stderr: string }) => error.stderr.trim(),
    )
  // Two of them mark the same directory: not at the same moment.
  const [first, ...others] = tries
  const ended = [await end(first), ...(await Promise.all(others.map(end)))]
  assert.deepEqual(
    ended,
    tries.map(([, , , , said]) => said),
  )
  assert.equal((await patroni('start')).said, TAKEN_AS_EMPTY)
})
