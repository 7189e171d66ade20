// The promise: the control plane may die at any step of creating or deleting a cluster, and what it
// was doing ends as if nothing had happened, with nothing left over. `npm run crashes` tries every
// fault point, the short run one of each fifth step; the points come from what an undisturbed run
// did, so a new step is covered by itself.
import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import type { Cluster, ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { createCluster } from '../../control-plane/src/operations/create-cluster.ts'
import { deleteCluster } from '../../control-plane/src/operations/delete-cluster.ts'
import { dieAlong, type Request, submit } from '../harness/crash.ts'
import { differences, type Inventory, inventory, shapeOf } from '../harness/inventory.ts'
import { LONG } from '../harness/long.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const MOMENTS = ['before', 'after', 'recorded'] as const
/** In pass n a step dies at the moment n places on from its own: three passes are all of them. */
const PASSES = 'skip' in LONG ? [0] : [0, 1, 2]
/** A death costs seconds: the short run takes some of the points, the long one all. */
const POINT_STRIDE = 'skip' in LONG ? 5 : 1
const instancesIn = (pass: number) => (pass === 0 ? 1 : 3)
const UNDISTURBED_TIMEOUT_MS = 120_000
const SETTLE_TIMEOUT_MS = 60_000

/** What an operation does when nothing happens to it, and how long that takes. */
interface Reference {
  steps: string[]
  tookMs: number
  shape: Inventory
}

let platform: TestPlatform
let empty: Inventory
/** By number of instances. */
const created = new Map<number, Reference>()
let entombed: Reference
let purged: Reference

function createRequest(name: string, instances: number): Request {
  return { method: 'POST', path: '/v1/clusters', body: { name, instances } }
}

function deleteRequest(name: string, purge: boolean): Request {
  return {
    method: 'DELETE',
    path: `/v1/clusters/${name}`,
    body: { confirm: name, purge },
    headers: { 'if-match': '*' },
  }
}

/** Step by step through the moments; before the first step and after the last one, too. */
function pointsOf(kind: string, steps: readonly string[], pass: number): string[] {
  const moment = (index: number) => MOMENTS[(index + pass) % MOMENTS.length]
  const points = [
    `${kind}/begin:after`,
    ...steps.map((step, index) => `${kind}/${step}:${moment(index)}`),
    `${kind}/end:after`,
  ]
  return points.filter((_, index) => index % POINT_STRIDE === 0)
}

async function observe(name: string, request: Request): Promise<Reference> {
  const { body } = await submit<OperationAccepted>(platform, request)
  const operation = await platform.waitOperation(body.operation.id, UNDISTURBED_TIMEOUT_MS)
  assertSucceeded(operation)
  const tookMs = Date.parse(operation.ended_at ?? '') - Date.parse(operation.created_at)
  const steps = operation.steps.filter(({ state }) => state === 'succeeded')
  return {
    steps: steps.map((step) => step.name),
    tookMs,
    shape: shapeOf(await inventory(platform), name),
  }
}

function assertSucceeded(operation: Operation): void {
  assert.equal(operation.state, 'succeeded', `${operation.title}: ${JSON.stringify(operation)}`)
}

async function assertSettles(expected: Inventory, name: string): Promise<void> {
  await until('the platform to look as after an undisturbed run', SETTLE_TIMEOUT_MS, async () => {
    const found = differences(expected, shapeOf(await inventory(platform), name))
    return found.length === 0 ? { value: true } : { seen: `\n${found.join('\n')}` }
  })
}

/** Exact: not even a name or an id may have changed. */
async function assertEmpty(): Promise<void> {
  await until('nothing to be left', SETTLE_TIMEOUT_MS, async () => {
    const found = differences(empty, await inventory(platform))
    return found.length === 0 ? { value: true } : { seen: `\n${found.join('\n')}` }
  })
}

async function dieWhileCreating(name: string, instances: number, pass: number) {
  const reference = created.get(instances) as Reference
  const points = pointsOf('create-cluster', reference.steps, pass)
  const request = createRequest(name, instances)
  const { reply, operation } = await dieAlong<ClusterAccepted>(
    platform,
    points,
    request,
    reference.tookMs,
  )
  assertSucceeded(operation)
  // The control plane died a moment ago: agents that could not report do so now.
  const cluster = await until(`${name} to be available`, SETTLE_TIMEOUT_MS, async () => {
    const seen = await readCluster(platform.api, reply, operation)
    const { state, message } = seen.cluster
    return state === 'available' ? { value: seen } : { seen: `${state}: ${message}` }
  })
  await platform.sql({ cluster }, 'create table note (line text)')
  await platform.sql({ cluster }, "insert into note values ('kept')")
  const rows = await platform.sql({ cluster }, 'select line from note')
  assert.deepEqual(rows, [{ line: 'kept' }])
  await assertSettles(reference.shape, name)
}

async function dieWhileDeleting(name: string, reference: Reference, purge: boolean, pass: number) {
  const points = pointsOf('delete-cluster', reference.steps, pass)
  const request = deleteRequest(name, purge)
  const { operation } = await dieAlong<OperationAccepted>(
    platform,
    points,
    request,
    reference.tookMs,
  )
  assertSucceeded(operation)
}

before(async () => {
  platform = await startPlatform({ subnet: '127.63.0' })
  empty = await inventory(platform)
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

// What a test that failed left behind must not make the next ones fail, too.
afterEach(async () => {
  for (const query of ['', '?deleted=true']) {
    const { body } = await platform.api<{ data: Cluster[] }>('GET', `/v1/clusters${query}`)
    for (const { name } of body.data) await observe(name, deleteRequest(name, true))
  }
})

test('an undisturbed run of each operation leaves what it should', async () => {
  created.set(1, await observe('calm', createRequest('calm', 1)))
  entombed = await observe('calm', deleteRequest('calm', false))
  await observe('calm', deleteRequest('calm', true))
  await assertEmpty()
  const most = instancesIn(PASSES.at(-1) ?? 0)
  created.set(most, await observe('calm', createRequest('calm', most)))
  purged = await observe('calm', deleteRequest('calm', true))
  await assertEmpty()
  const names = (definition: { steps: readonly { name: string }[] }) =>
    definition.steps.map((step) => step.name).sort()
  assert.deepEqual(created.get(1)?.steps.toSorted(), names(createCluster))
  const seen = new Set([...entombed.steps, ...purged.steps])
  assert.deepEqual([...seen].sort(), names(deleteCluster), 'a step of the deletion was never run')
})

for (const pass of PASSES) {
  test(`dying at each step of a creation, then of a purge, leaves no trace (${pass})`, async () => {
    const name = `purged-${pass}`
    await dieWhileCreating(name, instancesIn(pass), pass)
    await dieWhileDeleting(name, purged, true, pass + 1)
    await assertEmpty()
  })

  test(
    `dying at each step of a deletion leaves a tombstone and its data (${pass})`,
    LONG,
    async () => {
      const name = `entombed-${pass}`
      await platform.createCluster(name, { instances: 1 })
      await dieWhileDeleting(name, entombed, false, pass + 2)
      await assertSettles(entombed.shape, name)
      await observe(name, deleteRequest(name, true))
      await assertEmpty()
    },
  )
}

test('dying at each step that undoes a cancelled creation leaves no trace', LONG, async () => {
  const steps = purged.steps
  const { body } = await submit<ClusterAccepted>(platform, createRequest('undone', 1))
  const { id } = body.operation
  await until('services to be started', UNDISTURBED_TIMEOUT_MS, async () => {
    const { body: now } = await platform.api<Operation>('GET', `/v1/operations/${id}`)
    const step = now.steps.find(({ name }) => name === 'wait-leader')
    return step?.state === 'pending' ? { seen: JSON.stringify(now.steps) } : { value: true }
  })
  const { operation } = await dieAlong<Operation>(
    platform,
    // It has begun when it is cancelled.
    pointsOf('create-cluster', steps, 0).slice(1),
    { method: 'POST', path: `/v1/operations/${id}/cancel` },
    purged.tookMs + UNDISTURBED_TIMEOUT_MS,
  )
  assert.equal(operation.state, 'cancelled')
  await assertEmpty()
})
