// Goal: each death of a leader is noticed, however soon after the one before, and how far it was is
// told also by an agent that did not see it. Method: processes that stand where a postmaster would,
// or a real data directory, a view of the dcs, and a record of events.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { KEPT_END, type WatchedCluster } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import type { ClusterView, ClusterWatch } from '../dcs/cluster-watch.ts'
import { openHostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { until } from '../testing/until.ts'
import { type SentinelNeeds, startInstanceSentinel } from './instance-sentinel.ts'

const BIN = '/usr/lib/postgresql/15/bin'

const VIEW: ClusterView = {
  leader: { name: 'demo-1', createRevision: '7', leaseId: '3' },
  syncReplicas: ['demo-2'],
  syncRevision: '9',
  failover: undefined,
  paused: false,
  initialized: true,
  lastTimeline: undefined,
}

const INSTANCE = {
  name: 'demo-1',
  service: 'patroni-demo-1',
  dataDirectory: 'data/pgdata',
  postgresPort: 1,
}

/** Its `signal` ends it; `deleted` counts how often the leader key was taken away. */
function startSentinel(
  needs: Pick<SentinelNeeds, 'rootPath' | 'dropTo' | 'signal'> & {
    view: ClusterView
    add: SentinelNeeds['events']['add']
    binDirectory: string
  },
) {
  const stage = { deleted: 0, done: Promise.resolve() }
  const watch: ClusterWatch = {
    view: () => needs.view,
    silentMs: () => 0,
    deleteLeaderKey: async () => {
      stage.deleted += 1
      return true
    },
    leaseAgeMs: async () => undefined,
    refresh: async () => true,
    subscribe: () => () => undefined,
    done: Promise.resolve(),
  }
  stage.done = startInstanceSentinel({
    cluster: { id: 'clu_s', sensitivity: 'patient', instances: [] } as unknown as WatchedCluster,
    instance: { ...INSTANCE, binDirectory: needs.binDirectory },
    watch,
    hearing: {
      silentMs: () => 0,
      othersSilentMs: () => [],
      noteAlive: () => undefined,
      giveUp: () => undefined,
      gaveUp: () => undefined,
      hold: () => undefined,
      awaitHeld: async () => undefined,
      heardCount: () => 0,
      otherCount: 0,
    },
    rootPath: needs.rootPath,
    events: { add: needs.add, pending: () => [], forget: async () => undefined },
    log: pino({ level: 'silent' }),
    dropTo: needs.dropTo,
    signal: needs.signal,
  }).done
  return stage
}

test('a leader that dies again while its loss is told is noticed again', async (t) => {
  const rootPath = await mkdtemp('/tmp/hwd-')
  const stop = new AbortController()
  t.after(() => rm(rootPath, { recursive: true, force: true }))
  await chmod(rootPath, 0o755)
  const directory = join(rootPath, INSTANCE.dataDirectory)
  await mkdir(directory, { recursive: true })
  const stage = startSentinel({
    rootPath,
    view: VIEW,
    add: () => once(stop.signal, 'abort').then(() => undefined),
    binDirectory: '/nowhere',
    dropTo: undefined,
    signal: stop.signal,
  })
  t.after(() => {
    stop.abort()
    return stage.done
  })
  let postmaster: ChildProcess | undefined
  t.after(() => postmaster?.kill('SIGKILL'))
  // One after the other, as only the death of one that was seen alive can be noticed.
  const replace = async () => {
    postmaster?.kill('SIGKILL')
    postmaster = spawn('cat', { cwd: directory })
    await once(postmaster, 'spawn')
    await writeFile(join(directory, 'postmaster.pid'), `${postmaster.pid}\n`)
    return stage.deleted
  }
  await until('two deaths to be noticed', replace, (count) => count >= 2, 10_000)
})

/** A data directory as initdb leaves it: of a leader on timeline 1 that was shut down. */
async function makeFormerLeader(t: TestContext) {
  const base = await mkdtemp('/tmp/hwd-')
  t.after(() => rm(base, { recursive: true, force: true }))
  await chmod(base, 0o755)
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  const directory = join(root.path, INSTANCE.dataDirectory)
  const argv: [string, ...string[]] = [join(BIN, 'initdb'), '--no-sync', '-D', directory]
  await runProgram({ argv, timeoutMs: 60_000, user: root.dropTo })
  const told: { kind: string; timeline?: number | undefined }[] = []
  const leader = { name: 'demo-2', createRevision: '9', leaseId: '4' }
  const lastTimeline = { timeline: 2, switchLsn: '1', newLeader: 'demo-2' }
  return {
    directory,
    start() {
      const stop = new AbortController()
      const stage = startSentinel({
        rootPath: root.path,
        view: { ...VIEW, leader, lastTimeline },
        add: async (event) => void told.push(event),
        binDirectory: BIN,
        dropTo: root.dropTo,
        signal: stop.signal,
      })
      t.after(() => {
        stop.abort()
        return stage.done
      })
    },
    endIsTold: () =>
      until(
        'the end of its WAL to be told',
        () => told,
        ([event]) => event?.kind === 'wal-end-read' && event.timeline === 1,
      ),
  }
}

test('a leader that ended before its agent began says how far it was', async (t) => {
  const former = await makeFormerLeader(t)
  former.start()
  await former.endIsTold()
})

test('a leader that its Patroni made step down says how far it was', async (t) => {
  const former = await makeFormerLeader(t)
  const postmaster = spawn('cat', { cwd: former.directory })
  t.after(() => postmaster.kill('SIGKILL'))
  await once(postmaster, 'spawn')
  await writeFile(join(former.directory, 'postmaster.pid'), `${postmaster.pid}\n`)
  former.start()
  postmaster.kill('SIGKILL')
  await former.endIsTold()
})

test('a leader whose Patroni was sooner than its agent says how far it was', async (t) => {
  const former = await makeFormerLeader(t)
  const said = 'pg_waldump: error: error in WAL record at 0/28: invalid record length at 0/60: 0'
  const kept = { timeline: 1, segmentBytes: 16 * 2 ** 20, said }
  await writeFile(`${former.directory}${KEPT_END}`, JSON.stringify(kept))
  await writeFile(join(former.directory, 'standby.signal'), '')
  const postmaster = spawn('cat', { cwd: former.directory })
  t.after(() => postmaster.kill('SIGKILL'))
  await once(postmaster, 'spawn')
  await writeFile(join(former.directory, 'postmaster.pid'), `${postmaster.pid}\n`)
  former.start()
  await former.endIsTold()
})
