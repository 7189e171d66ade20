// Proves what changes of leader do when they are run again, and the cluster is no longer as it was:
// on a real platform database, with agents that are played.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { type ClusterRow, findCluster, setClusterState, updateClusterSpec } from '../db/clusters.ts'
import { listGuardEvents } from '../db/guard-events.ts'
import { type PlayedCluster, playCluster } from '../testing/play-cluster.ts'
import { failover } from './failover.ts'
import type { HoldReport } from './hand-over.ts'
import type { OperationContext, OperationDefinition, StepContext } from './operation.ts'
import { restoreCluster } from './restore-cluster.ts'
import { rollingRestart } from './rolling-restart.ts'
import { switchover } from './switchover.ts'
import { undoRestore } from './undo-restore.ts'

let cluster: PlayedCluster

before(async () => {
  cluster = await playCluster()
})
beforeEach(() => {
  cluster.asked.length = 0
})
after(() => cluster?.stop())

/** As after a crash or a failure: what `recorded` has is not run again. */
function runAgain<Input>(
  operation: Pick<OperationDefinition<Input>, 'run'>,
  input: Input,
  recorded: Record<string, unknown>,
): Promise<void> {
  const { step } = cluster
  const context: OperationContext<Input> = {
    operationId: step.operationId,
    clusterId: step.clusterId,
    input,
    async step<T>(name: string, body: (context: StepContext) => Promise<T>): Promise<T> {
      return Object.hasOwn(recorded, name) ? (recorded[name] as T) : body(step)
    },
  }
  return operation.run(context)
}

const HELD: HoldReport = {
  held: true,
  reason: '',
  heldMs: 200,
  clients: 3,
  waitedMsMax: 180,
  releasedBy: 'new-leader',
  unbroken: true,
}

const pathsAsked = () =>
  cluster.asked.flatMap((action) => (action.kind === 'patroni' ? [action.path] : []))

/** What is not about the case: no gateway has readers, and demo-1 is on timeline 1. */
function answerOthers(action: TaskAction): unknown {
  if (action.kind === 'gateway-drain') return { sessions: 0 }
  if (action.kind === 'gateway-hold' || action.kind === 'gateway-release') return HELD
  if (action.kind !== 'sql') return null
  return action.statements.map(() => ({ rows: [{ timeline: '00000001', streaming: null }] }))
}

test('a failover that is tried again refuses a candidate that lacks commits by now', async () => {
  await cluster.report('demo-1', 'demo-3')
  cluster.play((action) =>
    action.kind === 'patroni' ? { status: 200, body: { role: 'replica' } } : answerOthers(action),
  )
  const input = { to: null, accept_loss: false }
  const chosen = { name: 'demo-2', safe: true }
  await assert.rejects(runAgain(failover, input, { choose: chosen, 'wait-replicas': null }), {
    code: 'wrong-state',
    message: /demo-2 was not synchronous/,
  })
  assert.deepEqual(pathsAsked(), ['/health'])
})

test('where a loss is accepted it goes on, and the receipt will say so', async () => {
  await cluster.report('demo-1', 'demo-3')
  cluster.play(async (action) => {
    if (action.kind !== 'patroni') return answerOthers(action)
    if (action.method === 'POST') await cluster.report('demo-2')
    return { status: 200, body: { role: 'replica' } }
  })
  const input = { to: null, accept_loss: true }
  await runAgain(failover, input, {
    choose: { name: 'demo-2', safe: true },
    'wait-replicas': null,
  })
  assert.deepEqual(pathsAsked(), ['/health', '/failover'])
  const events = await listGuardEvents(cluster.step.database, cluster.step.clusterId, 10)
  assert.deepEqual(
    events.map(({ kind, instance }) => [kind, instance]),
    [['loss-accepted', 'demo-2']],
  )
})

test('a switchover that is resumed fails when somebody else leads, and holds nobody', async () => {
  await cluster.report('demo-3', 'demo-2')
  cluster.play(answerOthers)
  const recorded = { preflight: { from: 'demo-1', to: 'demo-2' }, 'wait-replicas': null }
  await assert.rejects(runAgain(switchover, { to: null }, recorded), {
    code: 'wrong-state',
    message: /demo-3 leads by now, not demo-2/,
  })
  assert.deepEqual(
    cluster.asked.map(({ kind }) => kind),
    ['gateway-drain', 'gateway-release'],
  )
})

test('a switchover that is resumed after the change succeeds', async () => {
  await cluster.report('demo-2', 'demo-1')
  cluster.play(answerOthers)
  const recorded = { preflight: { from: 'demo-1', to: 'demo-2' }, 'wait-replicas': null }
  await runAgain(switchover, { to: null }, recorded)
  assert.match(cluster.said.at(-1) ?? '', /^demo-2 leads; 3 transactions were held/)
  // The run that died had drained the former leader: its readers may come back.
  const drains = cluster.asked.filter((action) => action.kind === 'gateway-drain')
  assert.deepEqual(
    drains.map(({ instance, drain }) => [instance, drain]),
    [['demo-1', false]],
  )
})

test('an instance that leads when it is to restart hands over first', async () => {
  await cluster.report('demo-1', 'demo-2')
  const restarted: string[] = []
  cluster.play(async (action) => {
    if (action.kind !== 'patroni') return answerOthers(action)
    if (action.path === '/switchover') {
      await cluster.report('demo-3', 'demo-1')
      return { status: 200, body: 'Successfully switched over to "demo-3"' }
    }
    const { role } = action.body as { role?: string }
    restarted.push(`${action.address} ${role}`)
    if (restarted.length > 1) return { status: 200, body: 'restarted successfully' }
    // A failover, a moment after it was drained.
    await cluster.report('demo-2', 'demo-3')
    return { status: 503, body: 'restart conditions are not satisfied' }
  })
  const scope = { kind: 'one', name: 'demo-2' } as const
  const restart = { run: (context: OperationContext<null>) => rollingRestart(context, scope) }
  await runAgain(restart, null, { 'check-limits': null })
  assert.deepEqual(restarted, ['127.0.0.2 replica', '127.0.0.2 replica'])
  const changed = cluster.asked.findLastIndex(
    (action) => action.kind === 'patroni' && action.path === '/switchover',
  )
  const held = cluster.asked.findLastIndex(({ kind }) => kind === 'gateway-hold')
  assert.ok(held >= 0 && held < changed, 'it handed over without a hold')
})

test('a restore that is tried again refuses a cluster that was paused meanwhile', async (t) => {
  const { database, clusterId, operationId } = cluster.step
  const setPaused = async (maintenance: boolean) => {
    const { version, spec } = (await findCluster(database, clusterId)) as ClusterRow
    await updateClusterSpec(database, clusterId, version, { ...spec, maintenance })
  }
  t.after(() => setPaused(false))
  for (const { beforeRetry } of [restoreCluster, undoRestore]) {
    await setPaused(true)
    const retry = { operationId, clusterId, done: new Set(['end-undo']) }
    const again = () => database.transaction(async (tx) => beforeRetry?.(tx, retry))
    await assert.rejects(again(), /cluster demo is paused/)
    await setPaused(false)
    await again()
    await setClusterState(database, clusterId, 'available', '')
  }
})

test('a cluster of one writes out before it restarts, and says what that cost', async () => {
  await cluster.report('demo-1')
  cluster.said.length = 0
  cluster.play((action) => {
    if (action.kind === 'patroni') return { status: 200, body: 'restarted successfully' }
    const released = { ...HELD, releasedBy: 'asked', unbroken: false }
    return action.kind === 'gateway-release' ? released : answerOthers(action)
  })
  const scope = { kind: 'all' } as const
  const restart = { run: (context: OperationContext<null>) => rollingRestart(context, scope) }
  const alone = { replicas: [], leader: 'demo-1' }
  await runAgain(restart, null, {
    'restart-replicas': alone,
    'hand-over': false,
    'check-limits': 0,
  })
  const first = cluster.asked[0]
  assert.equal(first?.kind === 'sql' && first.statements[0]?.text, 'checkpoint')
  const rest = cluster.asked.map(({ kind }) => kind).filter((kind) => kind !== 'sql')
  assert.deepEqual(rest, ['gateway-hold', 'patroni', 'gateway-release'])
  assert.equal(
    cluster.said.at(-1),
    'demo-1 has restarted; 3 transactions were held, 180 ms at most; ' +
      'some may have failed: readers had nobody else to go to',
  )
})
