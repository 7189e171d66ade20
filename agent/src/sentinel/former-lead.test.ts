// Goal: the end of a former leader's WAL is told when another went on without it, and never when it
// is in doubt. Method: a data directory as initdb leaves it, and a view of the dcs that is a
// variable.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { KEPT_END, UNFINISHED_MARK } from '@howdah/core/host-spec.ts'
import type { GuardEvent } from '@howdah/core/protocol.ts'
import { pino } from 'pino'
import type { ClusterView } from '../dcs/cluster-watch.ts'
import { openHostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { watchFormerLead } from './former-lead.ts'

const BIN = '/usr/lib/postgresql/15/bin'

let base: string
let directory: string
let user: { uid: number; gid: number } | undefined
let view: ClusterView | undefined
let told: Omit<GuardEvent, 'id' | 'at'>[]
let stop: AbortController

before(async () => {
  base = await mkdtemp('/tmp/hwd-')
  await chmod(base, 0o755)
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  directory = join(root.path, 'data/pgdata')
  user = root.dropTo
  const initdb = join(BIN, 'initdb')
  await runProgram({ argv: [initdb, '--no-sync', '-D', directory], timeoutMs: 60_000, user })
})

after(() => rm(base, { recursive: true, force: true }))

beforeEach(() => {
  view = viewOf('demo-2', 2)
  told = []
  stop = new AbortController()
})

afterEach(() => stop.abort())

function viewOf(leader: string | undefined, timeline: number): ClusterView {
  return {
    leader: leader === undefined ? undefined : { name: leader, createRevision: '7', leaseId: '3' },
    syncReplicas: [],
    syncRevision: '0',
    failover: undefined,
    paused: false,
    initialized: true,
    lastTimeline: { timeline, switchLsn: '1', newLeader: leader ?? '' },
  }
}

/** `onLook`: each time that the dcs is looked at. */
function watchLead(onLook: () => void = () => undefined) {
  return watchFormerLead(
    {
      cluster: { id: 'clu_s' },
      instance: { name: 'demo-1', binDirectory: BIN },
      watch: {
        silentMs: () => 0,
        view() {
          onLook()
          return view
        },
      },
      events: {
        async add(event) {
          told.push(event)
        },
      },
      log: pino({ level: 'silent' }),
      dropTo: user,
      signal: stop.signal,
    },
    directory,
  )
}

test('a leader whose host comes back says how far it was, when another leads', async () => {
  await watchLead().ended()
  const [event, ...others] = told
  assert.deepEqual(others, [])
  assert.equal(event?.kind, 'wal-end-read')
  assert.equal(event?.instance, 'demo-1')
  assert.equal(event?.timeline, 1)
  assert.match(event?.lsn ?? '', /^[0-9]+$/)
})

test('nothing is told while nobody leads, or another still on the same timeline', async () => {
  const views = [viewOf(undefined, 2), viewOf('demo-2', 1), viewOf('demo-2', 2)]
  const seen: number[] = []
  const lead = watchLead(() => {
    seen.push(told.length)
    view = views.shift()
  })
  await lead.ended()
  assert.deepEqual(seen, [0, 0, 0])
  assert.equal(told.length, 1)
})

test('what was read is forgotten when it ends again, as it led meanwhile', async () => {
  view = viewOf(undefined, 1)
  const again = Promise.withResolvers<void>()
  const lead = watchLead(() => again.resolve())
  const first = lead.ended()
  await again.promise
  view = viewOf('demo-2', 2)
  await Promise.all([first, lead.ended()])
  assert.equal(told.length, 1)
})

test('a directory that was copied or rewound says nothing of whoever led', async () => {
  for (const mark of [`${directory}${UNFINISHED_MARK}`, join(directory, 'backup_label')]) {
    await writeFile(mark, '')
    await watchLead().ended()
    await rm(mark)
  }
  assert.deepEqual(told, [])
})

/** As a Patroni leaves it that has rewound this directory to follow another. */
async function rewound(timeline: number): Promise<void> {
  const said = 'pg_waldump: error: error in WAL record at 0/28: invalid record length at 0/60: 0'
  const kept = { timeline, segmentBytes: 16 * 2 ** 20, said }
  await writeFile(`${directory}${KEPT_END}`, JSON.stringify(kept))
  await writeFile(join(directory, 'standby.signal'), '')
}

test('what was rewound before it could be read is told as its Patroni kept it', async (t) => {
  t.after(() => rm(join(directory, 'standby.signal')))
  await rewound(1)
  const looks: number[] = []
  view = viewOf(undefined, 1)
  await watchLead(() => {
    looks.push(told.length)
    if (looks.length > 1) view = viewOf('demo-2', 2)
  }).began()
  assert.deepEqual(looks, [0, 0])
  assert.deepEqual(
    told.map(({ kind, timeline, lsn }) => ({ kind, timeline, lsn })),
    [{ kind: 'wal-end-read', timeline: 1, lsn: String(0x60) }],
  )
  assert.equal(existsSync(`${directory}${KEPT_END}`), false)
  await watchLead().began()
  assert.equal(told.length, 1)
})

test('an end is told once, read at once or kept', async (t) => {
  t.after(() => rm(join(directory, 'standby.signal')))
  const lead = watchLead()
  await lead.ended()
  await rewound(1)
  await lead.began()
  assert.equal(told.length, 1)
  assert.equal(existsSync(`${directory}${KEPT_END}`), false)
})

test('what its recovery wrote is not counted where its Patroni kept what was before', async (t) => {
  t.after(() => rm(`${directory}${KEPT_END}`))
  await rewound(1)
  await rm(join(directory, 'standby.signal'))
  await watchLead().ended()
  assert.deepEqual(
    told.map(({ lsn }) => lsn),
    [String(0x60)],
  )
  // Of another time, when it led before.
  told = []
  await rewound(7)
  await rm(join(directory, 'standby.signal'))
  await watchLead().ended()
  assert.notEqual(told[0]?.lsn, String(0x60))
})

test('what was kept of an instance that leads again is not its end', async (t) => {
  t.after(() => rm(`${directory}${KEPT_END}`))
  await rewound(1)
  await rm(join(directory, 'standby.signal'))
  await watchLead().began()
  assert.deepEqual(told, [])
})
