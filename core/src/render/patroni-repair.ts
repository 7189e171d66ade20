// Owns a repair of Patroni up to 3.0.2, loaded into its process through PYTHONPATH. There, a leader
// whose lease ran out while it was frozen puts the leader key anew without looking: it takes it
// away from the one who leads by now, and the others rewind to the older timeline (upstream pull
// requests 2689 and 2693). Newer versions compare.

/** Python's own name for a module that it imports when it starts. */
export const REPAIR_FILE = 'sitecustomize.py'

export const PATRONI_REPAIR = `# Rendered by Howdah; see core/src/render/patroni-repair.ts.
def _repair():
    from patroni.version import __version__
    if tuple(int(part) for part in __version__.split('.')[:3]) > (3, 0, 2):
        return
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

    import time
    Etcd3._update_leader = update_leader


try:
    _repair()
except Exception as error:
    import sys
    sys.stderr.write('howdah: patroni was not repaired: %r\\n' % error)
`
