// Goal: each death of a leader is noticed, however soon after the one before. Method: processes
// that stand where a postmaster would, a view of the dcs in which the instance leads, and a record
// of events that never gets to its end.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import type { ClusterView, ClusterWatch } from '../dcs/cluster-watch.ts'
import { until } from '../testing/until.ts'
import { startInstanceSentinel } from './instance-sentinel.ts'

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
  binDirectory: '/nowhere',
  postgresPort: 1,
}

test('a leader that dies again while its loss is told is noticed again', async (t) => {
  const rootPath = await mkdtemp('/tmp/hwd-')
  const stop = new AbortController()
  t.after(() => rm(rootPath, { recursive: true, force: true }))
  await chmod(rootPath, 0o755)
  const directory = join(rootPath, INSTANCE.dataDirectory)
  await mkdir(directory, { recursive: true })
  let deleted = 0
  const watch: ClusterWatch = {
    view: () => VIEW,
    silentMs: () => 0,
    deleteLeaderKey: async () => {
      deleted += 1
      return true
    },
    leaseAgeMs: async () => undefined,
    refresh: async () => true,
    subscribe: () => () => undefined,
    done: Promise.resolve(),
  }
  const { done } = startInstanceSentinel({
    cluster: { id: 'clu_s', sensitivity: 'patient', instances: [] } as unknown as WatchedCluster,
    instance: INSTANCE,
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
    rootPath,
    events: {
      add: () => once(stop.signal, 'abort').then(() => undefined),
      pending: () => [],
      forget: async () => undefined,
    },
    log: pino({ level: 'silent' }),
    dropTo: undefined,
    signal: stop.signal,
  })
  t.after(() => {
    stop.abort()
    return done
  })
  let postmaster: ChildProcess | undefined
  t.after(() => postmaster?.kill('SIGKILL'))
  // One after the other, as only the death of one that was seen alive can be noticed.
  const replace = async () => {
    postmaster?.kill('SIGKILL')
    postmaster = spawn('cat', { cwd: directory })
    await once(postmaster, 'spawn')
    await writeFile(join(directory, 'postmaster.pid'), `${postmaster.pid}\n`)
    return deleted
  }
  await until('two deaths to be noticed', replace, (count) => count >= 2, 10_000)
})
