// Owns those of the patches in Patroni's process that keep data directories whole; the others, and
// how they are loaded, are in patroni-patches.ts.
//
// take_spare: initdb is a second of work for two processors, while somebody waits for a new
// cluster. Where the agent has made a spare data directory (agent/src/apply/spares.ts), it is taken
// by renaming it. The superuser's password, which initdb would set, Patroni sets again anyway.
//
// end_orphans: a Patroni that is killed leaves the program running with which it was rewinding or
// copying. The next one would start PostgreSQL on a directory that is still being written: it ends
// what it finds of its service first.
//
// copy_anew: a rewind that is broken off, by a loss of power or because the leader went, leaves a
// directory that is neither the old one nor the new one, and a copy or a removal that is broken off
// leaves a part. Patroni starts PostgreSQL on the first, and waits for a human over the others. A
// mark beside the directory says that it is being written; what has one, and is the same directory,
// counts as empty: it is never started, and copied anew when there is a leader.
//
// keep_end: a former leader whose host comes back is rewound before its agent can read how far its
// WAL went, and its loss would never be known. That is read before anything is written there, also
// by the recovery that goes before a rewind, and left beside the directory for the agent
// (agent/src/sentinel/former-lead.ts). What takes too long or fails hinders nothing.
//
// copy_left_behind: a replica that was away for longer than the leader keeps WAL for (a share of
// its disk) asks for the same segment for good. Where neither of them has it any more, the instance
// is copied anew, too.
import { KEPT_END, UNFINISHED_MARK } from '../host-spec.ts'

export const PATRONI_DATA_PATCHES = `# As the C library has it: _IOR('v', 1, long).
FS_IOC_GETVERSION = 0x80087601


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def mark_of(postgresql):
    return postgresql.data_dir + '${UNFINISHED_MARK}'


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
    kept = postgresql.data_dir + '${KEPT_END}'
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
        sys.stderr.write('howdah: cannot tell where its WAL ends: %r\\n' % error)


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
        sys.stderr.write('howdah: took %s\\n' % self.howdah_spare)
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
        words = read(pid, 'cmdline').split(b'\\0')
        program = os.path.basename(words[0])
        writes = program in (b'pg_rewind', b'pg_basebackup') or (
            program == b'pgbackrest' and b'restore' in words)
        return writes and mark in read(pid, 'environ').split(b'\\0')

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
            sys.stderr.write('howdah: %s is not whole\\n' % self.data_dir)
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
    replays = re.compile(r'startup\\s+(?:recovering|waiting for) [0-9A-F]{8}([0-9A-F]{16})$')
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
                sys.stderr.write('howdah: the WAL after %s is gone\\n' % segment)
                begin_writing(ha.state_handler)
            except Exception:
                # What cannot be told now is looked at again.
                continue
            os._exit(1)

    def __init__(self, patroni):
        made(self, patroni)
        threading.Thread(target=watch, args=(self,), daemon=True).start()

    Ha.__init__ = __init__
`
