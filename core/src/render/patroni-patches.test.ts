// Goal: a patch changes what it says and no more. Method: Python loads the module as Patroni's
// process does, and Patroni's own classes are asked; only what they would send is caught.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { withPatches } from '../testing/with-patches.ts'

/** Prints, per line, how long Patroni waits for a status: who asks, in which mode, whom. */
const ASK = `
from types import SimpleNamespace as Some
from unittest.mock import MagicMock
from patroni.dcs import SyncState
from patroni.ha import Ha
from patroni.request import PatroniRequest

waited = []
PatroniRequest.request = lambda self, *args, **kwargs: waited.append(kwargs['timeout'])

def ask(whom, synchronous=True, leads=False, known=True):
    ha = Ha(MagicMock(request=PatroniRequest({})))
    sync = SyncState(1, 'former', 'me,candidate')
    ha.cluster = Some(sync=sync) if known else None
    ha.is_synchronous_mode = lambda: synchronous
    ha.is_leader = lambda: leads
    ha.fetch_node_status(Some(name=whom, api_url='https://127.0.0.1:1/patroni'))
    return waited.pop()

print(ask('former'), ask('candidate'), ask('former', leads=True), ask('candidate', leads=True),
      ask('former', synchronous=False), ask('former', known=False))
`

/**
 * A client of three members, of which argv names the near one; prints which it uses when it starts,
 * when the near one does not answer, and later, and whom it asks for the list each time.
 */
const NEAR = `
import sys, time
from types import SimpleNamespace as Some
from unittest.mock import MagicMock
from patroni.dcs.etcd3 import Etcd3Client

URLS = ['https://10.0.0.%d:2379' % number for number in (1, 2, 3)]
gone, unhealthy, asked = set(), set(), []

def members(self, uri, **kwargs):
    asked.append(uri[-6])
    if uri in gone:
        raise OSError('silent')
    return set(URLS)

def health(method, uri, **kwargs):
    uri = uri[:-len('/health')]
    if uri in gone:
        raise OSError('silent')
    return Some(status=503 if uri in unhealthy else 200)

def show(what):
    print(what, client._base_uri[-6], ''.join(asked))
    asked.clear()

def later():
    client._machines_cache_updated -= 11
    client._refresh_machines_cache()

near = sys.argv[2]
Etcd3Client._get_members = members
Etcd3Client.authenticate = lambda self: None
Etcd3Client._prepare_get_members = lambda self, count: {}
client = Etcd3Client({'hosts': URLS, 'protocol': 'https', 'retry_timeout': 3,
                      'howdah_near': near}, MagicMock())
client.http = Some(request=health, clear=lambda: None)
client.set_machines_cache_ttl(200)
show('starts')
if near in URLS:
    gone.add(near)
    other = next(url for url in URLS if url != near)
    client.set_base_uri(other)
    client._refresh_machines_cache()
    show('gone')
    later()
    show('still gone')
    gone.clear()
    client._refresh_machines_cache()
    show('back')
    unhealthy.add(near)
    later()
    show('alone')
    unhealthy.clear()
    later()
    show('healthy')
`

/**
 * Calls that no member answers; prints how many members the first tries
 * go to, how long each waits to connect and in all, and how long the next waits to connect.
 */
const RENEW = `
from types import SimpleNamespace as Some
from unittest.mock import MagicMock
from patroni.dcs.etcd import etcd
from patroni.dcs.etcd3 import Etcd3, Etcd3Error, KVCache, PatroniEtcd3Client
from patroni.utils import Retry

URLS = ['https://10.0.0.%d:2379' % number for number in (1, 2, 3)]
tries, restarts = [], []

def silent(method, uri, **kwargs):
    timeout = kwargs['timeout']
    tries.append((URLS.index(uri[:len(URLS[0])]), timeout.connect_timeout, round(timeout.total, 1)))
    raise OSError('silent')

PatroniEtcd3Client._get_members = lambda self, uri, **kwargs: set(URLS)
PatroniEtcd3Client.authenticate = lambda self: None
client = PatroniEtcd3Client({'hosts': URLS, 'protocol': 'https', 'retry_timeout': 3}, MagicMock())
client.http = MagicMock(urlopen=silent)
client._restart_watcher = lambda: restarts.append(1)
def lead(name):
    client.configure(Some(_name='me', cluster=Some(leader=Some(name=name) if name else None)))

for method, client.howdah_touches, name in (
        ('/lease/keepalive', False, 'other'), ('/kv/put', False, 'other'),
        ('/kv/put', True, 'other'), ('/lease/keepalive', False, 'me'),
        ('/lease/keepalive', False, None)):
    lead(name)
    retry = Retry(deadline=3, max_delay=1, max_tries=-1, sleep_func=lambda seconds: None)
    try:
        retry(client.call_rpc, method, {'ID': '1'}, retry=retry)
    except etcd.EtcdException:
        first = tries[:5] if tries[0][0] == tries[1][0] else tries[:3]
        print(method, len({where for where, _, _ in first}), [time for _, *time in first],
              tries[len(first)][1])
    tries.clear()

class Looking:
    _client = client
    def refresh_lease(self):
        print('touches', client.howdah_touches)
        raise Etcd3Error('stopped')

lead('other')
restarts.clear()
client.howdah_touches = True
try:
    client.call_rpc('/kv/put', {'ID': '1'})
except etcd.EtcdException:
    print('fails', len(tries), 'watches anew', len(restarts))
client.howdah_touches = False
Etcd3.touch_member(Looking(), {})
print(client.howdah_touches)

cache = MagicMock()
KVCache._do_watch(cache, 1)
print('woken', cache._dcs.event.set.call_count)
`

/** Bootstraps twice with a spare that is there once; prints what each time was done. */
const TAKE = `
import os, sys
from unittest.mock import MagicMock
from patroni.postgresql.bootstrap import Bootstrap

base = sys.argv[1]
spare = base + '/spare'
os.mkdir(spare)
open(spare + '/PG_VERSION', 'w').close()
for number in (1, 2):
    os.mkdir('%s/%d' % (base, number))
    postgresql = MagicMock(data_dir='%s/%d/pgdata' % (base, number))
    postgresql.config.superuser = {'username': 'postgres'}
    Bootstrap(postgresql).bootstrap({'initdb': ['data-checksums'], 'howdah_spare': spare})
    taken = os.path.exists(postgresql.data_dir + '/PG_VERSION')
    configured = postgresql.configure_server_parameters.call_count
    print(taken, postgresql.pg_ctl.call_args_list, configured, postgresql.start.call_count)
`

/**
 * Demotes under an agent that answers as argv says, `-` being none and `x` one that hangs up;
 * prints what Patroni did each time.
 */
const LEAVE = `
import os, socket, threading, time
from unittest.mock import MagicMock
from patroni.ha import Ha

answers, asked, sessions = [], [], []

def serve(session):
    lines = session.makefile('rb')
    asked.append(next(lines).decode().strip())
    sessions.append(session)
    for line in lines:
        asked.append(line.decode().strip())
        answer = answers.pop(0)
        if answer == 'x':
            return session.shutdown(socket.SHUT_RDWR)
        session.sendall((answer + '\\n').encode())

def accept(server):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

def wait_for(what):
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)

def demote(mode):
    before = ha.state_handler.stop.call_count
    ha.dcs.manual_failover.reset_mock()
    ha.demote(mode)
    return [ha.state_handler.stop.call_count - before, ha.dcs.manual_failover.call_args_list]

path = os.environ['HOWDAH_LEAVING']
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.05))
patroni = MagicMock()
patroni.postgresql.name = 'demo-1'
ha = Ha(patroni)
ha.cluster, ha._rewind = MagicMock(), MagicMock()
ha.cluster.failover.leader = 'demo-1'
print('nobody', demote('graceful'))
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
threading.Thread(target=accept, args=(server,), daemon=True).start()
wait_for(lambda: ha.howdah_agent.session)
for answer in ('go', 'no', 'x'):
    wait_for(lambda: ha.howdah_agent.session)
    answers.append(answer)
    print(answer, demote('graceful'))
wait_for(lambda: ha.howdah_agent.session)
ha.cluster.failover.leader = None
answers.append('no')
print('failover', demote('graceful'))
ha.cluster.failover.leader = 'demo-1'
wait_for(lambda: len(sessions) == 2)
print('another mode', demote('immediate-nolock'))
server.close()
os.unlink(path)
sessions[-1].shutdown(socket.SHUT_RDWR)
wait_for(lambda: ha.howdah_agent.session is None)
print('gone', demote('graceful'))
print(asked)
`

/** Demotes once, with PostgreSQL's own class; prints its checkpoints and when it was asked. */
const WRITE = `
from unittest.mock import MagicMock
import patroni.postgresql
from patroni.ha import Ha

done = []
Postgresql = patroni.postgresql.Postgresql
connection = MagicMock()
connection.__enter__().execute.side_effect = done.append
patroni.postgresql.get_connection_cursor = lambda **kwargs: connection
postgresql = Postgresql.__new__(Postgresql)
postgresql.config = MagicMock(local_connect_kwargs={})
postgresql.name = 'demo-1'
postgresql.stop = lambda mode, **kwargs: postgresql.checkpoint()
ha = Ha.__new__(Ha)
ha.patroni, ha.state_handler, ha._rewind = MagicMock(), postgresql, MagicMock()
ha.cluster = MagicMock(failover=None)
ha.howdah_agent = MagicMock(lets_go=lambda: done.append('asked') or True)
try:
    ha.demote('graceful')
except Exception:
    pass  # Of what follows the stop nothing is there.
postgresql.checkpoint()
print(done)
`

/** A promotion that is overlooked until it was told twice more; prints what was sent. */
const PROMOTE = `
import os, sys, time
from unittest.mock import MagicMock
from patroni.postgresql import Postgresql

request = sys.argv[1] + '/promote'
open(request, 'w').close()
sent = []

def receive(number):
    sent.append(int(number))
    if len(sent) == 2:
        os.unlink(request)

def polling(self, seconds):
    deadline = time.monotonic() + seconds
    while os.path.exists(request) and time.monotonic() < deadline:
        time.sleep(0.001)
    return True

postgresql = Postgresql.__new__(Postgresql)
postgresql._data_dir = sys.argv[1]
postgresql.is_running = lambda: MagicMock(send_signal=receive)
for cell in Postgresql._wait_promote.__closure__:
    if getattr(cell.cell_contents, '__name__', '') == '_wait_promote':
        cell.cell_contents = polling
print(postgresql._wait_promote(10), sent)
time.sleep(0.1)
print(sent)
`

/**
 * Slots of a leader of three, of which one is away and one has fallen behind: what is wanted, what
 * is dropped and what is made; then of a replica.
 */
const SLOTS = `
from types import SimpleNamespace as Some
from unittest.mock import MagicMock
from patroni.postgresql.slots import SlotsHandler

def sync(leads):
    done = []
    def query(text, *params):
        if 'wal_status' in text:
            return [('me_2',)]
        if 'pg_drop' in text:
            done.append('drop ' + params[0])
            return MagicMock(rowcount=1, fetchone=lambda: (False, True))
        if 'pg_create' in text:
            done.append('make ' + params[0])
        return []
    handler = SlotsHandler.__new__(SlotsHandler)
    handler._query = query
    handler._schedule_load_slots = False
    handler._unready_logical_slots = {}
    handler._replication_slots = {name: {'type': 'physical'} for name in ('me_2', 'me_3', 'other')}
    members = {'howdah_instances': ['me-1', 'me-2', 'me-3', 'me-4']}
    handler._postgresql = MagicMock(config=members, major_version=150000, is_leader=lambda: leads)
    handler._postgresql.name = 'me-1'
    handler._postgresql.citus_handler.ignore_replication_slot = lambda slot: False
    slots = {'me_2': {'type': 'physical'}} if leads else {}
    config = Some(ignore_slots_matchers=[])
    cluster = Some(config=config, slots=None, get_replication_slots=lambda *args: slots)
    handler.sync_replication_slots(cluster, False)
    print(sorted(slots), sorted(done))

sync(True)
sync(False)
`

test('a spare data directory is taken once, and then initdb runs', async () => {
  const { stdout, stderr } = await withPatches(TAKE)
  assert.match(stderr, /^howdah: took .*\/spare\n$/)
  const initdb = "[call('initdb', '-o', '--data-checksums --username=postgres')]"
  assert.equal(stdout, `True [] 1 1\nFalse ${initdb} 1 1\n`)
})

test('only the former leader is asked shortly, and only by who may follow it', async () => {
  const asked = await withPatches(ASK)
  assert.equal(asked.stderr.includes('howdah:'), false, asked.stderr)
  assert.equal(asked.stdout.trim(), '0.05 2 2 2 2 2')
})

test('who stops leading asks its agent, and stays unless it may go', async () => {
  const { stdout, stderr } = await withPatches(LEAVE)
  const withdrawn = "[call('', '')]"
  assert.deepEqual(stdout.trim().split('\n'), [
    'nobody [1, []]',
    'go [1, []]',
    `no [0, ${withdrawn}]`,
    `x [0, ${withdrawn}]`,
    'failover [1, []]',
    'another mode [1, []]',
    `gone [0, ${withdrawn}]`,
    "['demo-1', 'leaving', 'leaving', 'leaving', 'demo-1', 'leaving']",
  ])
  assert.equal(stderr.split('\n').filter((line) => line.includes('stays the leader')).length, 3)
})

test('the checkpoint is written before clients are held, and not again', async () => {
  const { stdout } = await withPatches(WRITE)
  const checkpoint = "'SET statement_timeout = 0', 'CHECKPOINT'"
  assert.equal(stdout.trim(), `[${checkpoint}, 'asked', ${checkpoint}]`)
})

test('PostgreSQL is told of its promotion until it has noticed', async () => {
  const { stdout } = await withPatches(PROMOTE)
  assert.equal(stdout.trim(), 'True [10, 10]\n[10, 10]')
})

test('a leader keeps the slots of all instances, and makes those anew that were lost', async () => {
  const { stdout, stderr } = await withPatches(SLOTS)
  assert.equal(stderr, '')
  const [leader, replica] = stdout.trim().split('\n')
  const done = ['drop me_2', 'drop other', 'make me_2', 'make me_4']
  const say = (names: string[]) => `[${names.map((name) => `'${name}'`).join(', ')}]`
  assert.equal(leader, `${say(['me_2', 'me_3', 'me_4'])} ${say(done)}`)
  assert.equal(replica, `[] ${say(['drop me_2', 'drop me_3', 'drop other'])}`)
})

test('a Patroni ends what the one before it had begun to write, and nothing else', async (t) => {
  const directory = await mkdtemp('/tmp/hwd-')
  t.after(() => rm(directory, { recursive: true, force: true }))
  await copyFile('/usr/bin/sleep', join(directory, 'pg_rewind'))
  await copyFile('/usr/bin/sleep', join(directory, 'postgres'))
  const begin = (program: string, service: string) => {
    const child = spawn(join(directory, program), ['60'], { env: { HOWDAH_SERVICE: service } })
    t.after(() => child.kill('SIGKILL'))
    return { child, ended: once(child, 'exit') }
  }
  const orphan = begin('pg_rewind', '/patroni-a')
  const others = [begin('pg_rewind', '/patroni-b'), begin('postgres', '/patroni-a')]
  await Promise.all([orphan, ...others].map(({ child }) => once(child, 'spawn')))
  const { stderr } = await withPatches('')
  assert.equal(stderr, '')
  assert.deepEqual(await orphan.ended, [null, 'SIGKILL'])
  for (const { child } of others) assert.equal(child.exitCode ?? child.signalCode, null)
})

test('a Patroni asks its own member of the dcs, and comes back to a healthy one', async () => {
  const { stdout, stderr } = await withPatches(NEAR, 'https://10.0.0.2:2379')
  assert.equal(stderr.includes('howdah:'), false, stderr)
  // What is done, the member in use, those that were asked for the list.
  assert.deepEqual(stdout.trim().split('\n'), [
    'starts 2 2',
    'gone 1 1',
    'still gone 1 1',
    'back 1 1',
    'alone 1 1',
    'healthy 2 1',
  ])
})

test('a Patroni without a member of its own draws one', async () => {
  const { stdout } = await withPatches(NEAR, '')
  assert.match(stdout.trim(), /^starts [123] [123]$/)
})

test('a member that does not answer is left sooner by who follows, once', async () => {
  const { stdout, stderr } = await withPatches(RENEW)
  assert.equal(stderr.includes('howdah:'), false, stderr)
  assert.deepEqual(stdout.trim().split('\n'), [
    '/lease/keepalive 3 [[0.3, 0.3], [0.3, 0.3], [0.3, 0.3], [0.3, 0.3], [0.3, 0.3]] 1',
    '/kv/put 3 [[0.3, 1.0], [0.3, 1.0], [0.3, 1.0]] 1',
    '/kv/put 3 [[0.3, 0.3], [0.3, 0.3], [0.3, 0.3], [0.3, 0.3], [0.3, 0.3]] 1',
    '/lease/keepalive 3 [[1, 1.0], [1, 1.0], [1, 1.0]] 1',
    '/lease/keepalive 3 [[1, 1.0], [1, 1.0], [1, 1.0]] 1',
    'fails 1 watches anew 0',
    'touches True',
    'False',
    'woken 1',
  ])
})
