// Proves what a gateway is made to be, case by case, with a HAProxy that is a few variables.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import type { ClusterView } from '../dcs/cluster-watch.ts'
import { type Held, NOTHING_HELD } from './pooler-hold.ts'
import { type LeaderChange, makeSettler, wantedOf } from './settle-gateway.ts'

const SERVERS = ['a', 'b', 'c']

function viewOf(leader: string | undefined, paused = false): ClusterView {
  return {
    leader: leader === undefined ? undefined : { name: leader, createRevision: '1', leaseId: '1' },
    syncReplicas: [],
    syncRevision: '0',
    failover: undefined,
    paused,
    initialized: true,
    lastTimeline: undefined,
  }
}

interface FakeHaproxy {
  up: Set<string>
  draining: Set<string>
  cut: string[]
  said: string[]
  fails: RegExp | undefined
  /** Of sessions of their own. */
  gate: string
  /** Before it answers. */
  onTold(): void
}

/** What HAProxy was told, what it has, and what the settler sees of the world. */
function makeStage(lastLeader?: string) {
  const stage = {
    view: undefined as ClusterView | undefined,
    silentMs: 0,
    up: new Set(SERVERS),
    draining: new Set<string>(),
    drained: new Set<string>(),
    cut: [] as string[],
    said: [] as string[],
    fails: undefined as RegExp | undefined,
    held: undefined as Held | undefined,
    bridged: 0,
    admitted: 0,
    gate: 'ready',
    writable: new Set(SERVERS),
    /** An heir that does not write yet has nothing left to replay. */
    caughtUp: true,
    replicas: new Set<string>(),
    changes: [] as LeaderChange[],
    /** While a candidate is asked. */
    onAsked: () => {},
    onTold: () => {},
    /** As an operation does. */
    holdFrom(fromLeader: string) {
      stage.held = { planned: true, fromLeader, startedMs: performance.now(), ended: never }
    },
    point: (name: string) => {
      stage.up = new Set([name])
    },
    settle: async () => false,
  }
  const never = new Promise<void>(() => undefined)
  const settler = makeSettler({
    servers: SERVERS,
    watch: { view: () => stage.view, silentMs: () => stage.silentMs },
    hold: {
      bridge() {
        stage.bridged += 1
        stage.held ??= {
          planned: false,
          fromLeader: undefined,
          startedMs: performance.now(),
          ended: never,
        }
      },
      async admit() {
        stage.admitted += 1
      },
      held: () => stage.held,
      async release() {
        stage.held = undefined
        return NOTHING_HELD
      },
    },
    drained: () => stage.drained,
    haproxy: (commands) => answer(stage, commands),
    async becomesWritable(leader, stillWanted, onCaughtUp) {
      if (stage.caughtUp) await onCaughtUp()
      stage.onAsked()
      return stage.writable.has(leader) && stillWanted()
    },
    isReplica: async (name) => stage.replicas.has(name),
    lastLeader,
    onFirst: () => undefined,
    onChange: (change) => stage.changes.push(change),
    log: pino({ level: 'silent' }),
  })
  stage.settle = settler.settle
  return stage
}

/** HAProxy's side of it. */
async function answer(stage: FakeHaproxy, commands: readonly string[]): Promise<string> {
  const failing = stage.fails
  if (failing !== undefined && commands.some((each) => failing.test(each))) {
    throw new Error('HAProxy is silent')
  }
  stage.onTold()
  for (const command of commands) {
    const [, , path = '', , state] = command.split(' ')
    const [backend, name = ''] = path.split('/')
    if (command.startsWith('show')) continue
    stage.said.push(command)
    if (command.startsWith('shutdown')) stage.cut.push(command.split('/')[1] ?? '')
    else if (backend === 'gate') stage.gate = state ?? ''
    else if (backend === 'write') stage.up[state === 'up' ? 'add' : 'delete'](name)
    else stage.draining[state === 'drain' ? 'add' : 'delete'](name)
  }
  const row = (name: string, index: number) =>
    `3 write ${index + 1} ${name} 127.0.0.1 ${stage.up.has(name) ? 2 : 0} 0`
  return ['1', '# header', ...SERVERS.map(row)].join('\n')
}

async function ledBy(leader: string) {
  const stage = makeStage()
  stage.view = viewOf(leader)
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], [leader])
  stage.said = []
  return stage
}

test('what is wanted follows from a view that is fresh, or of a paused cluster', () => {
  const unknown = { kind: 'unknown' }
  assert.deepEqual(wantedOf(undefined, 0), unknown)
  assert.deepEqual(wantedOf(viewOf('a'), 1999), { kind: 'leader', name: 'a' })
  assert.deepEqual(wantedOf(viewOf('a'), 2000), unknown)
  assert.deepEqual(wantedOf(viewOf(undefined), 0), { kind: 'nobody' })
  assert.deepEqual(wantedOf(viewOf(undefined), 2000), unknown)
  assert.deepEqual(wantedOf(viewOf('a', true), 60_000), { kind: 'leader', name: 'a' })
  assert.deepEqual(wantedOf(viewOf(undefined, true), 60_000), unknown)
})

test('as long as there is no view, the sessions of a healthy leader are left alone', async () => {
  const stage = makeStage()
  stage.point('a')
  assert.equal(await stage.settle(), false)
  assert.deepEqual(stage.said, [])
  assert.deepEqual([...stage.up], ['a'])
})

test("without a fresh view HAProxy's checks are not overruled", async () => {
  const stage = await ledBy('a')
  stage.silentMs = 5000
  stage.point('b')
  assert.equal(await stage.settle(), false)
  assert.deepEqual([...stage.up], ['b'])
  stage.silentMs = 0
  stage.view = viewOf('b')
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['b'])
})

test('without a fresh view an instance that became a replica is left all the same', async () => {
  const stage = await ledBy('a')
  stage.silentMs = 5000
  await stage.settle()
  assert.deepEqual(stage.said, [])
  stage.replicas.add('a')
  await stage.settle()
  assert.deepEqual([...stage.up], [])
  assert.ok(stage.cut.includes('a'))
  assert.equal(stage.bridged, 0)
})

test('a leader that nobody succeeded yet is left, and the clients wait', async () => {
  const stage = await ledBy('a')
  stage.view = viewOf(undefined)
  assert.equal(await stage.settle(), false)
  assert.deepEqual([...stage.up], [])
  assert.deepEqual([...new Set(stage.cut)], ['a'])
  assert.equal(stage.bridged, 1)
  stage.view = viewOf('b')
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['b'])
  assert.equal(stage.held, undefined)
})

test('the former leader is left before the next writes, also from hand to hand', async () => {
  const stage = await ledBy('a')
  stage.view = viewOf('b')
  stage.onAsked = () => {
    assert.deepEqual([[...stage.up], stage.gate, stage.admitted], [[], 'ready', 0])
    assert.deepEqual([...new Set(stage.cut)], ['a'])
    assert.equal(stage.bridged, 1)
  }
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['b'])
  assert.deepEqual(
    stage.changes.map(({ leader, before, planned }) => [leader, before, planned]),
    [['b', 'a', false]],
  )
})

test('a leader that has stepped down is left while it still holds its key', async () => {
  const stage = await ledBy('a')
  // HAProxy's check has seen it.
  stage.up.clear()
  stage.replicas.add('a')
  stage.writable.delete('a')
  assert.equal(await stage.settle(), false)
  assert.deepEqual([...stage.up], [])
  assert.deepEqual([...new Set(stage.cut)], ['a'])
  assert.equal(stage.bridged, 1)
  assert.equal(await stage.settle(), false)
  assert.deepEqual([...stage.up], [])
  stage.writable.add('a')
  stage.replicas.delete('a')
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['a'])
  assert.equal(stage.held, undefined)
})

test('a former leader that could not be left is left in the next round', async () => {
  const stage = await ledBy('a')
  stage.view = viewOf(undefined)
  stage.fails = /shutdown/
  await assert.rejects(stage.settle(), /silent/)
  stage.fails = undefined
  await stage.settle()
  assert.deepEqual([...new Set(stage.cut)], ['a'])
})

test('readers that cannot be moved hold no writers, and are moved in the next round', async () => {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  stage.view = viewOf('b')
  stage.fails = /replicas\/. state/
  await assert.rejects(stage.settle(), /silent/)
  assert.equal(stage.held, undefined)
  assert.equal(stage.changes[0]?.planned, true)
  stage.fails = undefined
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.draining], ['b'])
  assert.equal(stage.changes.length, 1)
})

test('a planned hold goes on while the former leader leads, and ends with the next', async () => {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  assert.equal(await stage.settle(), true)
  assert.ok(stage.held)
  stage.view = viewOf('b')
  await stage.settle()
  assert.equal(stage.held, undefined)
})

test('the pooler may go to a planned heir that has nothing to replay, others wait', async () => {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  stage.view = viewOf('b')
  stage.onAsked = () => {
    assert.deepEqual([[...stage.up], stage.gate, stage.admitted], [['b'], 'maint', 1])
    assert.deepEqual([...new Set(stage.cut)], ['a'])
    assert.ok(stage.held)
  }
  assert.equal(await stage.settle(), true)
  assert.deepEqual([[...stage.up], stage.gate, stage.held], [['b'], 'ready', undefined])
})

/** While it is asked, with clients that a plan holds. */
async function heirThatDoesNotWrite(change: (stage: ReturnType<typeof makeStage>) => void) {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  stage.view = viewOf('b')
  stage.writable.delete('b')
  stage.onAsked = () => change(stage)
  assert.equal(await stage.settle(), false)
  return stage
}

test('an heir that is none any more before it writes is left, and clients wait again', async () => {
  const stage = await heirThatDoesNotWrite((it) => {
    it.view = viewOf(undefined)
  })
  assert.ok(stage.held)
  assert.deepEqual([[...stage.up], stage.gate, stage.bridged], [[], 'ready', 2])
  assert.deepEqual([...new Set(stage.cut)], ['a', 'b'])
})

test('an heir is not left because the dcs is silent, nor because this agent ends', async () => {
  const stage = await heirThatDoesNotWrite((it) => {
    it.silentMs = 5000
  })
  assert.deepEqual([[...stage.up], [...new Set(stage.cut)]], [['b'], ['a']])
})

test('nobody is let through to an heir that has something to replay', async () => {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  stage.view = viewOf('b')
  stage.caughtUp = false
  stage.onAsked = () => {
    assert.deepEqual([[...stage.up], stage.gate, stage.admitted], [[], 'ready', 0])
  }
  assert.equal(await stage.settle(), true)
})

test('a HAProxy without a gate is told of nobody before the leader writes', async () => {
  const stage = await ledBy('a')
  stage.holdFrom('a')
  stage.view = viewOf('b')
  stage.fails = /gate/
  stage.onAsked = () => assert.deepEqual([[...stage.up], stage.admitted], [[], 0])
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['b'])
})

test('a HAProxy that was reloaded is told again, of drained replicas, too', async () => {
  const stage = await ledBy('a')
  stage.drained.add('c')
  stage.up = new Set(SERVERS)
  stage.draining.clear()
  assert.equal(await stage.settle(), true)
  assert.deepEqual([...stage.up], ['a'])
  assert.deepEqual([...stage.draining].toSorted(), ['a', 'c'])
  stage.said = []
  assert.equal(await stage.settle(), true)
  assert.deepEqual(stage.said, [])
})

test('a view that changes while a round works is no settled one', async () => {
  const stage = makeStage()
  stage.view = viewOf('a')
  stage.onTold = () => {
    stage.view = viewOf('b')
  }
  assert.equal(await stage.settle(), false)
  assert.equal(await stage.settle(), true)
})

test('a leader that changed while the agent was away did, for nobody knows how long', async () => {
  const stage = makeStage('a')
  stage.view = viewOf('b')
  assert.equal(await stage.settle(), true)
  const change = { leader: 'b', before: 'a', gapMs: undefined, planned: false }
  assert.deepEqual(stage.changes, [change])
  stage.view = viewOf('a')
  assert.equal(await stage.settle(), true)
  assert.equal(typeof stage.changes[1]?.gapMs, 'number')
})

test('whoever led before the agent began, and still does, has not changed', async () => {
  const stage = makeStage('a')
  stage.view = viewOf('a')
  assert.equal(await stage.settle(), true)
  assert.deepEqual(stage.changes, [])
})
