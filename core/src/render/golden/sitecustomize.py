# Rendered by Howdah; see core/src/render/patroni-patches.ts.
import fcntl
import os
import sys


def plain_tls():
    # python-etcd goes without what it cannot import.
    sys.modules.setdefault('urllib3.contrib.pyopenssl', None)


def compare_before_leading():
    from patroni.version import __version__
    if tuple(int(part) for part in __version__.split('.')[:3]) > (3, 0, 2):
        return
    import time
    from patroni.dcs import Leader
    from patroni.dcs.etcd3 import Etcd3, Etcd3Error, ReturnFalseException

    def update_leader(self):
        retry = self._retry.copy()

        def _retry(*args, **kwargs):
            kwargs['retry'] = retry
            return retry(*args, **kwargs)

        self._run_and_handle_exceptions(self._do_refresh_lease, True, retry=_retry)
        if not self._lease:
            return False
        cluster = self.cluster
        leader = cluster.leader if cluster and isinstance(cluster.leader, Leader) else None
        if leader is not None and leader.session == self._lease:
            return True
        retry.deadline = retry.stoptime - time.time()
        if retry.deadline < 1:
            raise Etcd3Error('update_leader timeout')
        # Ours under an older lease: only if nobody has touched it since.
        # Otherwise: only if there is none.
        own = leader is not None and leader.name == self._name
        expected = {'mod_revision': leader.index} if own else {'create_revision': 0}
        try:
            return bool(self._run_and_handle_exceptions(
                self._client.put, self.leader_path, self._name, self._lease,
                retry=_retry, **expected))
        except ReturnFalseException:
            return False

    Etcd3._update_leader = update_leader


def send_at_once():
    import socket
    from patroni.api import RestApiHandler
    from patroni.dcs.etcd3 import Etcd3

    made = Etcd3.set_socket_options

    def set_socket_options(self, sock, socket_options):
        made(self, sock, socket_options)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    Etcd3.set_socket_options = set_socket_options
    RestApiHandler.disable_nagle_algorithm = True


def ask_shortly():
    from patroni.ha import Ha
    from patroni.request import PatroniRequest

    ask_s = 0.05
    made = Ha.__init__

    class Hurried(PatroniRequest):
        def __call__(self, member, *args, **kwargs):
            asks_status = kwargs.get('timeout') == 2 and kwargs.get('retries') == 0
            if asks_status and self.asks_former_leader(member):
                kwargs['timeout'] = ask_s
            return super().__call__(member, *args, **kwargs)

        def asks_former_leader(self, member):
            ha = self.ha
            if ha.cluster is None or ha.is_leader() or not ha.is_synchronous_mode():
                return False
            return member.name == ha.cluster.sync.leader

    def __init__(self, patroni):
        made(self, patroni)
        patroni.request.ha = self
        patroni.request.__class__ = Hurried

    Ha.__init__ = __init__


def stay_near():
    import time
    from patroni.dcs.etcd import AbstractEtcdClientWithFailover as Client

    health_s, look_every_s = 0.2, 10
    listed, refreshed = Client._get_machines_list, Client._refresh_machines_cache
    set_ttl = Client.set_machines_cache_ttl

    def near_first(self, machines):
        near = self._config.get('howdah_near')
        return sorted(machines, key=lambda uri: uri != near)

    def is_healthy(self, uri):
        # Of the dcs as this member sees it: one that is cut off from the others is not.
        kwargs = self._prepare_get_members(1)
        kwargs.update(timeout=health_s, retries=0, preload_content=True)
        try:
            return self.http.request('GET', uri + '/health', **kwargs).status == 200
        except Exception:
            return False

    def _get_machines_list(self, machines_cache):
        # The one that has just answered, before any that may not; the caller has lost their order.
        known = near_first(self, machines_cache)
        known = sorted(known, key=lambda uri: uri != self._base_uri)
        return near_first(self, listed(self, known))

    def _refresh_machines_cache(self, machines_cache=None):
        # Not where a call has just left a member: it would lead back to it.
        is_due = time.time() - self._machines_cache_updated > self._machines_cache_ttl
        changed = refreshed(self, machines_cache)
        near = self._config.get('howdah_near')
        is_away = near in self._machines_cache and self._base_uri != near
        if is_due and machines_cache is None and is_away and is_healthy(self, near):
            self.set_base_uri(near)
        return changed

    Client.set_machines_cache_ttl = lambda self, ttl: set_ttl(self, min(ttl, look_every_s))
    Client._get_machines_list = _get_machines_list
    Client._refresh_machines_cache = _refresh_machines_cache


def leave_sooner():
    from patroni.dcs.etcd import AbstractEtcdClientWithFailover as Client
    from patroni.dcs.etcd3 import Etcd3, PatroniEtcd3Client
    from urllib3 import Timeout

    connect_s, answer_s = 0.3, 0.3
    prepared, sent = Client._prepare_common_parameters, Client._do_http_request
    touch_member, set_base_uri = Etcd3.touch_member, PatroniEtcd3Client.set_base_uri

    class Short(Timeout):
        pass

    def follows(client):
        # A leader gives up when nothing answers: on a host that is short of processors it needs
        # each second that it has.
        dcs = getattr(client, '_etcd3', None)
        cluster = dcs and dcs.cluster
        leader = cluster and cluster.leader
        return bool(leader) and leader.name != dcs._name

    def _prepare_common_parameters(self, etcd_nodes, timeout=None):
        kwargs = prepared(self, etcd_nodes, timeout)
        if timeout is None and follows(self):
            kwargs['timeout'] = Short(connect=connect_s, total=kwargs['timeout'].total)
        return kwargs

    def _do_http_request(self, retry, machines, execute, method, path, fields=None, **kwargs):
        is_look = path.endswith('/lease/keepalive') or getattr(self, 'howdah_touches', False)
        if is_look and isinstance(kwargs.get('timeout'), Short):
            kwargs['timeout'] = Timeout(total=answer_s)
            # The first has its second in three tries: asked again, it knows the new leader, and
            # leaving it would cost its token and the watch.
            machines = machines[:1] * 2 + machines
            self.howdah_looks = True
        try:
            return sent(self, retry, machines, execute, method, path, fields, **kwargs)
        finally:
            self.howdah_looks = False

    def unless_used(self, uri):
        # It would begin its watch anew, which is of no use there.
        if not getattr(self, 'howdah_looks', False) or uri != self._base_uri:
            set_base_uri(self, uri)

    def touching(self, *args, **kwargs):
        self._client.howdah_touches = True
        try:
            return touch_member(self, *args, **kwargs)
        finally:
            self._client.howdah_touches = False

    Client._prepare_common_parameters = _prepare_common_parameters
    Client._do_http_request = _do_http_request
    Etcd3.touch_member, PatroniEtcd3Client.set_base_uri = touching, unless_used


def look_again():
    from patroni.dcs.etcd3 import KVCache

    watch = KVCache._do_watch

    def _do_watch(self, *args, **kwargs):
        self._dcs.event.set()
        return watch(self, *args, **kwargs)

    KVCache._do_watch = _do_watch


def look_sooner():
    import functools
    import time
    import patroni.postgresql as postgresql

    look_every_s = 0.05

    def wait_for_startup(self, timeout=None):
        while not self.check_startup_state_changed():
            if self.cancellable.is_cancelled or timeout and self.time_in_state() > timeout:
                return None
            time.sleep(look_every_s)
        return self.state == 'running'

    # Used where a started server's port is awaited, and the end of a promotion.
    postgresql.polling_loop = functools.partial(postgresql.polling_loop, interval=look_every_s)
    postgresql.Postgresql.wait_for_startup = wait_for_startup


def ask_before_leaving():
    import os
    import queue
    import socket
    import threading
    import time
    from patroni.ha import Ha
    from patroni.postgresql import Postgresql

    path = os.environ.get('HOWDAH_LEAVING')
    if path is None:
        return
    answer_s, retry_s, remembered_s = 10, 1, 30
    made, demote, checkpoint = Ha.__init__, Ha.demote, Postgresql.checkpoint

    class Agent:
        def __init__(self, name):
            self.name, self.session, self.lost = name, None, None
            self.answers = queue.Queue()
            threading.Thread(target=self.keep_session, daemon=True).start()

        def keep_session(self):
            # As long as there is one, the agent knows that it will be asked.
            while True:
                try:
                    with socket.socket(socket.AF_UNIX) as session:
                        session.connect(path)
                        session.sendall(('%s\n' % self.name).encode())
                        self.session = session
                        for line in session.makefile('rb'):
                            self.answers.put(line == b'go\n')
                except OSError:
                    pass
                if self.session is not None:
                    self.session, self.lost = None, time.monotonic()
                    self.answers.put(False)
                time.sleep(retry_s)

        def lets_go(self):
            session = self.session
            if session is None:
                return self.lost is None or time.monotonic() - self.lost > remembered_s
            self.answers = queue.Queue()
            try:
                session.sendall(b'leaving\n')
                return self.answers.get(timeout=answer_s)
            except (OSError, queue.Empty):
                return False

    def __init__(self, patroni):
        made(self, patroni)
        self.howdah_agent = Agent(self.state_handler.name)

    def asking(self, mode):
        if mode != 'graceful':
            return demote(self, mode)
        postgresql = self.state_handler
        # A failover names no leader: this one shall go, whether its agent answers or not.
        failover = self.cluster.failover
        is_wanted_gone = failover is not None and not failover.leader
        postgresql.checkpoint()
        if not self.howdah_agent.lets_go() and not is_wanted_gone:
            sys.stderr.write('howdah: stays the leader: nobody holds the clients\n')
            self.dcs.manual_failover('', '')
            return None
        postgresql.howdah_has_checkpoint = True
        try:
            return demote(self, mode)
        finally:
            postgresql.howdah_has_checkpoint = False

    def unless_written(self, *args, **kwargs):
        if getattr(self, 'howdah_has_checkpoint', False):
            return None
        return checkpoint(self, *args, **kwargs)

    Ha.__init__, Ha.demote, Postgresql.checkpoint = __init__, asking, unless_written


def wake_for_promotion():
    import os
    import signal
    import threading
    import time
    from patroni.postgresql import Postgresql

    retry_s, enough_s = 0.01, 5
    made = Postgresql._wait_promote

    def wake(self):
        request = os.path.join(self.data_dir, 'promote')
        postmaster = self.is_running()
        stop = time.monotonic() + enough_s
        while postmaster and time.monotonic() < stop:
            time.sleep(retry_s)
            # PostgreSQL removes it when it has noticed.
            if not os.path.exists(request):
                return
            postmaster.send_signal(signal.SIGUSR1)

    def _wait_promote(self, wait_seconds):
        threading.Thread(target=wake, args=(self,), daemon=True).start()
        return made(self, wait_seconds)

    Postgresql._wait_promote = _wait_promote


def keep_slots():
    from patroni.dcs import slot_name_from_member_name
    from patroni.postgresql.slots import SlotsHandler

    drop = SlotsHandler._drop_incorrect_slots
    lost = """SELECT slot_name FROM pg_catalog.pg_replication_slots
      WHERE slot_type = 'physical' AND wal_status = 'lost' AND NOT active"""

    def _drop_incorrect_slots(self, cluster, slots, *args, **kwargs):
        if self._postgresql.is_leader():
            for name in self._postgresql.config.get('howdah_instances') or []:
                if name != self._postgresql.name:
                    slots.setdefault(slot_name_from_member_name(name), {'type': 'physical'})
            for name, in list(self._query(lost)):
                if name in slots and self.drop_replication_slot(name) == (False, True):
                    self._replication_slots.pop(name, None)
        return drop(self, cluster, slots, *args, **kwargs)

    SlotsHandler._drop_incorrect_slots = _drop_incorrect_slots


# As the C library has it: _IOR('v', 1, long).
FS_IOC_GETVERSION = 0x80087601


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def mark_of(postgresql):
    return postgresql.data_dir + '.unfinished'


def identity(directory):
    # A restore may have put another directory in its place. An inode's number is used again when
    # it is free, then with another generation.
    inode = os.stat(directory).st_ino
    handle = os.open(directory, os.O_RDONLY)
    try:
        generation = fcntl.ioctl(handle, FS_IOC_GETVERSION, bytes(8)).hex()
    except OSError:
        generation = ''
    finally:
        os.close(handle)
    return '%d %s' % (inode, generation)


def is_unfinished(postgresql):
    try:
        # A leader asks each second, also when no file can be opened: that must not stop it.
        os.lstat(mark_of(postgresql))
        with open(mark_of(postgresql)) as file:
            return file.read() == identity(postgresql.data_dir)
    except FileNotFoundError:
        return False


def write_whole(path, text):
    with open(path + '.new', 'w') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + '.new', path)
    sync(os.path.dirname(path))


def keep_wal_end(postgresql):
    import json
    import subprocess

    enough_s = 10
    kept = postgresql.data_dir + '.ended'
    try:
        control = postgresql.controldata()
        if control.get('Database cluster state') not in (
                'in production', 'shutting down', 'shut down', 'in crash recovery'):
            return
        checkpoint = control["Latest checkpoint location"]
        if checkpoint == getattr(postgresql, 'howdah_recovered_to', None):
            # All that came since is its recovery's.
            return
        if os.path.exists(kept):
            os.unlink(kept)
        timeline = control["Latest checkpoint's TimeLineID"]
        ended = subprocess.run(
            [postgresql.pgcommand('pg_waldump'), '--quiet', '--path', postgresql.wal_dir,
             '--timeline', timeline, '--start', control["Latest checkpoint's REDO location"]],
            env={**os.environ, 'LC_ALL': 'C'}, timeout=enough_s,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        write_whole(kept, json.dumps({
            'timeline': int(timeline), 'segmentBytes': int(control['Bytes per WAL segment']),
            'said': ended.stderr.decode('utf-8', 'replace')[-2000:]}))
    except Exception as error:
        sys.stderr.write('howdah: cannot tell where its WAL ends: %r\n' % error)


def begin_writing(postgresql):
    if is_unfinished(postgresql):
        return
    keep_wal_end(postgresql)
    write_whole(mark_of(postgresql), identity(postgresql.data_dir))


def end_writing(postgresql):
    try:
        os.unlink(mark_of(postgresql))
    except FileNotFoundError:
        return
    sync(os.path.dirname(postgresql.data_dir))


def take_spare():
    from patroni.postgresql.bootstrap import Bootstrap

    bootstrap, initdb = Bootstrap.bootstrap, Bootstrap._initdb

    def remembering(self, config):
        self.howdah_spare = config.get('howdah_spare')
        return bootstrap(self, config)

    def taking(self, config):
        data = self._postgresql.data_dir
        try:
            os.rename(self.howdah_spare, data)
        except (OSError, TypeError):
            return initdb(self, config)
        sync(os.path.dirname(data))
        sys.stderr.write('howdah: took %s\n' % self.howdah_spare)
        self._postgresql.configure_server_parameters()
        return True

    Bootstrap.bootstrap, Bootstrap._initdb = remembering, taking


def end_orphans():
    import signal
    import time

    mark = ('HOWDAH_SERVICE=%s' % os.environ.get('HOWDAH_SERVICE', '')).encode()
    enough_s, look_s = 10, 0.01

    def read(pid, name):
        try:
            with open('/proc/%s/%s' % (pid, name), 'rb') as file:
                return file.read()
        except OSError:
            return b''

    def writes_data(pid):
        words = read(pid, 'cmdline').split(b'\0')
        program = os.path.basename(words[0])
        writes = program in (b'pg_rewind', b'pg_basebackup') or (
            program == b'pgbackrest' and b'restore' in words)
        return writes and mark in read(pid, 'environ').split(b'\0')

    stop = time.monotonic() + enough_s
    while time.monotonic() < stop:
        orphans = [pid for pid in os.listdir('/proc') if pid.isdigit() and writes_data(pid)]
        if not orphans:
            return
        for pid in orphans:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(look_s)
    raise RuntimeError('%r outlive SIGKILL' % orphans)


def copy_anew():
    from patroni.ha import Ha
    from patroni.postgresql import Postgresql
    from patroni.postgresql.bootstrap import Bootstrap
    from patroni.postgresql.cancellable import CancellableSubprocess
    from patroni.postgresql.rewind import Rewind

    init, start, is_empty = Postgresql.__init__, Postgresql.start, Postgresql.data_directory_empty
    remove, create = Postgresql.remove_data_directory, Bootstrap.create_replica
    rewind, call, bootstrap = Rewind.pg_rewind, CancellableSubprocess.call, Ha.bootstrap

    def begin_copy(postgresql):
        os.makedirs(postgresql.data_dir, 0o700, exist_ok=True)
        begin_writing(postgresql)

    def starting(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.howdah_ready = True
        if is_unfinished(self):
            sys.stderr.write('howdah: %s is not whole\n' % self.data_dir)
        else:
            end_writing(self)

    def looking(self):
        # It then stops what may run there, goes on as with a new instance, and removes nothing
        # before there is a leader. What runs needs its version while it is joined.
        counts = self.howdah_ready and not self.howdah_copies
        return counts and is_unfinished(self) or is_empty(self)

    def unless_unfinished(self, *args, **kwargs):
        return False if is_unfinished(self) else start(self, *args, **kwargs)

    def bootstrapping(self):
        if is_unfinished(self.state_handler) and self.cluster.is_unlocked():
            return 'waiting for a leader to copy from'
        return bootstrap(self)

    def removing(self):
        try:
            begin_writing(self)
        except OSError:
            # There is none, or no room for the mark: what is removed makes room.
            pass
        remove(self)
        if self.howdah_copies:
            begin_copy(self)
        elif not os.path.exists(self.data_dir):
            end_writing(self)

    def creating(self, *args, **kwargs):
        postgresql = self._postgresql
        if not is_empty(postgresql):
            postgresql.remove_data_directory()
        begin_copy(postgresql)
        postgresql.howdah_copies = True
        try:
            failed = create(self, *args, **kwargs)
        finally:
            postgresql.howdah_copies = False
        if failed == 0:
            end_writing(postgresql)
        return failed

    def calling(self, *args, **kwargs):
        said = kwargs.get('communicate')
        self.howdah_said = None, b''
        code = call(self, *args, **kwargs)
        self.howdah_said = code, (said or {}).get('stderr') or b''
        return code

    def rewinding(self, *args, **kwargs):
        postgresql = self._postgresql
        # It ends with 1 where it finds something wrong, and says this before it begins to write.
        postgresql.cancellable.howdah_said = 1, b'not run'
        begin_writing(postgresql)
        done = False
        try:
            done = rewind(self, *args, **kwargs)
        finally:
            code, said = postgresql.cancellable.howdah_said
            if done or code == 1 and b'rewinding from last common checkpoint' not in said:
                end_writing(postgresql)
        return done

    Postgresql.howdah_ready = Postgresql.howdah_copies = False
    Postgresql.__init__, Postgresql.start = starting, unless_unfinished
    Postgresql.data_directory_empty, Postgresql.remove_data_directory = looking, removing
    Bootstrap.create_replica, Rewind.pg_rewind = creating, rewinding
    CancellableSubprocess.call, Ha.bootstrap = calling, bootstrapping


def keep_end():
    from patroni.ha import Ha
    from patroni.postgresql.rewind import Rewind

    handle, ensure = Ha._handle_crash_recovery, Rewind.ensure_clean_shutdown

    def handling(self):
        # Where nobody else leads, whoever waits for this one should not wait longer.
        leader = self.cluster.leader
        name = leader and leader.name
        self.state_handler.howdah_follows = bool(name) and name != self.state_handler.name
        return handle(self)

    def ensuring(self):
        postgresql = self._postgresql
        if not getattr(postgresql, 'howdah_follows', False):
            return ensure(self)
        keep_wal_end(postgresql)
        done = ensure(self)
        postgresql.howdah_recovered_to = postgresql.controldata().get('Latest checkpoint location')
        return done

    Ha._handle_crash_recovery, Rewind.ensure_clean_shutdown = handling, ensuring


def copy_left_behind():
    import re
    import threading
    import time
    from patroni.ha import Ha
    from patroni.postgresql.connection import get_connection_cursor

    look_s, patience_s = 5, 30
    replays = re.compile(r'startup\s+(?:recovering|waiting for) [0-9A-F]{8}([0-9A-F]{16})$')
    is_segment = re.compile(r'[0-9A-F]{24}$').match
    made = Ha.__init__

    def replayed(postgresql):
        # PostgreSQL says so in its process's title, also before it lets anybody in.
        postmaster = postgresql.is_running()
        titles = [' '.join(child.cmdline()).strip() for child in postmaster.children()]
        return next((found[1] for found in map(replays.search, titles) if found), None)

    def begins_at(path, address):
        # A segment that is kept for later use has a later name, and an older address.
        with open(path, 'rb') as file:
            return int.from_bytes(file.read(16)[8:], sys.byteorder) == address

    def lacks(wal_directory, segment):
        # The first that is not there, of this segment and the next one.
        paths = [entry.path for entry in os.scandir(wal_directory) if is_segment(entry.name)]
        size = os.path.getsize(paths[0])
        per_log = 2 ** 32 // size
        number = int(segment[:8], 16) * per_log + int(segment[8:], 16)
        for wanted in (number, number + 1):
            name = '%08X%08X' % divmod(wanted, per_log)
            named = [path for path in paths if path.endswith(name)]
            if not any(begins_at(path, wanted * size) for path in named):
                return name
        return None

    def oldest(ha, leader):
        login = ha._rewind._conn_kwargs(leader, ha.state_handler.config.superuser)
        options = '-c statement_timeout=2000'
        with get_connection_cursor(connect_timeout=3, options=options, **login) as cursor:
            cursor.execute("""SELECT min(pg_catalog.substr(name, 9))
              FROM pg_catalog.pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'""")
            return cursor.fetchone()[0]

    def is_left_behind(ha, segment):
        leader = ha.cluster.leader
        if ha.is_paused() or not leader.conn_url or leader.name == ha.state_handler.name:
            return False
        wanted = lacks(ha.state_handler.wal_dir, segment)
        return wanted is not None and oldest(ha, leader) > wanted

    def watch(ha):
        seen, since = None, 0
        while True:
            time.sleep(look_s)
            try:
                segment = replayed(ha.state_handler)
                if segment != seen:
                    seen, since = segment, time.monotonic()
                waits = segment is not None and time.monotonic() - since >= patience_s
                if not waits or not is_left_behind(ha, segment):
                    continue
                sys.stderr.write('howdah: the WAL after %s is gone\n' % segment)
                begin_writing(ha.state_handler)
            except Exception:
                # What cannot be told now is looked at again.
                continue
            os._exit(1)

    def __init__(self, patroni):
        made(self, patroni)
        threading.Thread(target=watch, args=(self,), daemon=True).start()

    Ha.__init__ = __init__


# The helper process that starts a postmaster needs none of this, nor the time to load it.
if not any('multiprocessing' in word for word in getattr(sys, 'orig_argv', [])):
    for patch in (plain_tls, compare_before_leading, send_at_once, ask_shortly, stay_near,
                  leave_sooner, look_again, take_spare, look_sooner, ask_before_leaving,
                  wake_for_promotion, keep_slots, end_orphans, copy_anew, keep_end,
                  copy_left_behind):
        try:
            patch()
        except Exception as error:
            sys.stderr.write('howdah: %s: patroni is as it was: %r\n' % (patch.__name__, error))
