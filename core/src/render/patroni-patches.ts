// Owns what is changed in Patroni's own process, loaded into it through PYTHONPATH: as little as
// possible, each with its reason, and each skipped with a word on stderr where it does not fit.
//
// compare_before_leading (up to 3.0.2): there, a leader whose lease ran out while it was frozen
// puts the leader key anew without looking: it takes it away from the one who leads by now, and
// the others rewind to the older timeline (upstream pull requests 2689 and 2693). Newer versions
// compare.
//
// plain_tls: python-etcd puts pyOpenSSL under urllib3 where it is installed. A watch over its
// sockets cannot be interrupted (its shutdown() takes no argument, Patroni gives it one and
// swallows the error), so a Patroni whose dcs member freezes goes on with what it knew before: it
// never learns that nobody leads. Python's own ssl can be interrupted.
//
// send_at_once: Patroni's connections to etcd lose TCP_NODELAY where it sets up keepalive, and its
// REST server never has it. A request or a reply in two segments then waits for a delayed
// acknowledgement: 40 ms each, six times in a switchover.
//
// ask_shortly: before the synchronous replica takes the lead, it asks the former leader how far it
// came, and waits 2 s when that host is gone so far that it does not even refuse. In synchronous
// mode the answer changes nothing: nobody else may lead. All other questions keep their 2 s: a
// leader asks whether its candidate is well, and would refuse a switchover to one that is slow; in
// asynchronous mode the most advanced replica is looked for.
//
// stay_near: Patroni shuffles the members of the dcs and stays with the one that it drew. When that
// one's host is gone without a word, its watch hears nothing, and it waits a second for each answer
// that does not come: as long as a failover may take. On a host with a member, that one is asked
// first, and returned to when it has its health again; a host that is gone asks nothing.
//
// leave_sooner: Patroni gives each member a second to be connected to, and another for an answer. A
// member whose dcs loses its leader leaves unanswered what it had passed on to that one, also when
// there is a new one, and the next member may be on the host that is gone: two seconds in which a
// replica does not hear that nobody leads. While it follows somebody, its first round of tries is
// short where that costs nothing: connecting, and what is said with each look (a lease renewed, a
// member's own state). The rounds after it have all the time that is left, as ever; a state is said
// again with the next look.
//
// look_again: a Patroni whose watch of the dcs begins anew reads all keys, and looks at what has
// changed meanwhile with its next turn, up to a second later. That may be that nobody leads: it is
// woken.
//
// look_sooner: Patroni looks once a second whether a PostgreSQL that it starts is up. The first
// look comes after 5 ms, too early for any, so each start costs a second: decision 007.

//
// ask_before_leaving: a switchover's clients are held by the gateways, and Patroni checks its
// candidate and itself before it stops PostgreSQL, which is a third of what clients would wait for.
// Here it asks this host's agent once its checks are done and its checkpoint is written
// (agent/src/leaving.ts): clients are held when it has asked, and it goes when they are. Where no
// agent is it goes; where one was a moment ago it stays, as that one may have begun the change.
//
// wake_for_promotion: a replica whose leader has gone looks for WAL, and in the moment when it sees
// that its connection has failed it may overlook that it is to be promoted: it does so when it
// looks again, up to wal_retrieve_retry_interval later. It is told again until it has noticed.
//
// keep_slots (before 4.0, whose member_slots_ttl does it): Patroni drops the slot of a replica
// whose lease in the dcs has run out, three seconds after its host went. The leader then recycles
// WAL that the replica needs, and it never follows again by itself: decision 019. Slots of all
// instances that are to run are kept; max_slot_wal_keep_size bounds them, and one that went beyond
// is made anew, as a copy of the leader could not follow by it.
//
// Those that keep data directories whole are in patroni-data-patches.ts.
import { PATRONI_DATA_PATCHES } from './patroni-data-patches.ts'

/** Python's own name for a module that it imports when it starts. */
export const PATCHES_FILE = 'sitecustomize.py'

export const PATRONI_PATCHES = `# Rendered by Howdah; see core/src/render/patroni-patches.ts.
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
                        session.sendall(('%s\\n' % self.name).encode())
                        self.session = session
                        for line in session.makefile('rb'):
                            self.answers.put(line == b'go\\n')
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
                session.sendall(b'leaving\\n')
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
            sys.stderr.write('howdah: stays the leader: nobody holds the clients\\n')
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


${PATRONI_DATA_PATCHES}

# The helper process that starts a postmaster needs none of this, nor the time to load it.
if not any('multiprocessing' in word for word in getattr(sys, 'orig_argv', [])):
    for patch in (plain_tls, compare_before_leading, send_at_once, ask_shortly, stay_near,
                  leave_sooner, look_again, take_spare, look_sooner, ask_before_leaving,
                  wake_for_promotion, keep_slots, end_orphans, copy_anew, keep_end,
                  copy_left_behind):
        try:
            patch()
        except Exception as error:
            sys.stderr.write('howdah: %s: patroni is as it was: %r\\n' % (patch.__name__, error))
`
