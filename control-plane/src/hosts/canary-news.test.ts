// Proves, on a real platform database, what becomes an event of what agents say of their gateways.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { showCluster } from '../clusters/cluster-view.ts'
import { findCluster, listGateways, setClusterState } from '../db/clusters.ts'
import { listEvents } from '../db/events.ts'
import { findHost, recordReport } from '../db/hosts.ts'
import { insertOperation } from '../db/operations.ts'
import { type PlayedCluster, playCluster } from '../testing/play-cluster.ts'
import { tellCanaries } from './canary-news.ts'

const BROKEN = { silentMs: 22_000, error: 'cannot log in: timeout expired' }
const LATE = { silentMs: 16_000, error: 'cannot log in: timeout expired' }
const WORKS = { silentMs: 0, error: '' }

let played: PlayedCluster
let gatewayId: string
let gatewayHost: string

before(async () => {
  played = await playCluster()
  const { database, clusterId } = played.step
  const [gateway] = await listGateways(database, clusterId)
  gatewayId = gateway?.id ?? ''
  gatewayHost = gateway?.host_id ?? ''
})
after(async () => {
  await played?.stop()
})
beforeEach(async () => {
  const { database, clusterId } = played.step
  for (const table of ['event', 'operation']) await database.query(`truncate ${table} cascade`)
  await setClusterState(database, clusterId, 'available', '')
  await setMaintenance(false)
  await played.report('demo-1', 'demo-2')
})

async function setMaintenance(maintenance: boolean): Promise<void> {
  const { database, clusterId } = played.step
  await database.query(
    `update cluster set spec = spec || jsonb_build_object('maintenance', $2::boolean)
     where id = $1`,
    [clusterId, maintenance],
  )
}

/** A report of a host: as the listener stores it, and tells what is new. */
async function say(canary: typeof WORKS | undefined, hostId = gatewayHost): Promise<void> {
  const { database } = played.step
  const host = await findHost(database, hostId)
  assert.ok(host !== undefined)
  const canaries = canary === undefined ? [] : [{ gatewayId, ...canary }]
  const { services } = host
  await database.transaction(async (tx) => {
    await recordReport(tx, hostId, { appliedRevision: 0, applyError: '', services, canaries })
    await tellCanaries(tx, host, canaries)
  })
}

async function told(): Promise<string[]> {
  const events = await listEvents(played.step.database, { after: 0, limit: 100 })
  return events
    .map(({ kind, message }) => `${kind}: ${message}`)
    .filter((line) => /^gate/.test(line))
}

const TOLD_BROKEN =
  'gateway.broken: demo-gateway-1 has not carried a write for 22 s: cannot log in: timeout expired'
const TOLD_WORKS = 'gateway.works: demo-gateway-1 carries writes again'

test('a gateway that carries no writes is told once, and once that it does again', async () => {
  for (const canary of [WORKS, LATE, BROKEN, BROKEN]) await say(canary)
  assert.deepEqual(await told(), [TOLD_BROKEN])
  for (const canary of [undefined, WORKS, WORKS]) await say(canary)
  assert.deepEqual(await told(), [TOLD_BROKEN, TOLD_WORKS])
})

test('the cluster is degraded and not ready from before that, with the reason', async () => {
  const { database, clusterId } = played.step
  await say(LATE)
  const row = await findCluster(database, clusterId)
  assert.ok(row !== undefined)
  const { readiness } = await showCluster(database, row)
  const said = readiness.checks.find(({ name }) => name === 'writes')
  assert.equal(said?.ok, false)
  assert.equal(said?.message, `demo-gateway-1 has not carried a write for 16 s: ${LATE.error}`)
  assert.deepEqual(await told(), [])
})

test('not while an operation changes the cluster, but after it', async () => {
  const { database, clusterId } = played.step
  const operation = { kind: 'restart-cluster', title: 'restart', input: {}, steps: [] }
  const by = { clusterId, clusterName: 'demo', createdBy: 'usr_1' }
  await database.transaction((tx) => insertOperation(tx, { ...operation, ...by }))
  await say(BROKEN)
  assert.deepEqual(await told(), [])
  await database.query("update operation set state = 'succeeded'")
  await say(BROKEN)
  assert.deepEqual(await told(), [TOLD_BROKEN])
})

test('not without a leader, in a pause, or where the cluster is not to work', async () => {
  const { database, clusterId } = played.step
  await played.report(undefined)
  await say(BROKEN)
  await played.report('demo-1')
  await setMaintenance(true)
  await say(BROKEN)
  await setMaintenance(false)
  await setClusterState(database, clusterId, 'deleted', '')
  await say(BROKEN)
  assert.deepEqual(await told(), [])
})

test('a host tells nothing of the gateways of others', async () => {
  const { rows } = await played.step.database.query<{ id: string }>(
    'select id from host where id <> $1',
    [gatewayHost],
  )
  for (const { id } of rows) await say(BROKEN, id)
  assert.deepEqual(await told(), [])
})
