// Proves, on a real platform database, what is remembered for an undo: once, for as long as
// something is set aside, and for whoever works on it.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import type { Database } from '../database.ts'
import { startDatabase, type TestDatabase } from '../testing/start-database.ts'
import {
  claimUndo,
  deleteTakenBack,
  ensureUndo,
  findUndo,
  insertTakenBack,
  listClosedClusters,
  listExpiredUndos,
  listTakenBack,
  storeSetAside,
  type UndoRow,
} from './restore-undo.ts'

const CLUSTER = 'clu_1'
let own: TestDatabase
let database: Database

before(async () => {
  own = await startDatabase()
  database = own.database
})
after(async () => {
  await own?.stop()
})
beforeEach(async () => {
  await database.query('truncate cluster cascade')
  await database.query('truncate taken_back')
  await database.query(
    "insert into cluster (id, name, spec, state) values ($1, 'demo', '{}', 'available')",
    [CLUSTER],
  )
})

/** As a restore does it: with a leader, or when all is stopped. */
async function remember(operationId: string, leaderId: string | null, timelines: number[] | null) {
  const undo = { clusterId: CLUSTER, operationId, leaderId, timelines, keepDays: 7 }
  await database.transaction((tx) => ensureUndo(tx, undo))
}

async function present(): Promise<UndoRow> {
  const undo = await findUndo(database, CLUSTER)
  assert.ok(undo !== undefined)
  return undo
}

test('a further restore keeps what the first one knew, and takes its place', async () => {
  await remember('op_1', 'ins_1', [1, 2])
  await storeSetAside(database, CLUSTER, ['ins_1', 'ins_2'])
  await remember('op_2', 'ins_2', [1, 2, 3, 4])
  const { directory, leader_id, timelines, instances, operation_id } = await present()
  assert.deepEqual([directory, leader_id, timelines], ['before_op_1', 'ins_1', [1, 2]])
  assert.deepEqual([instances, operation_id], [['ins_1', 'ins_2'], 'op_2'])
})

test('a further restore that finds everything stopped changes nothing of it', async () => {
  await remember('op_1', 'ins_1', [1])
  await remember('op_1', null, null)
  await remember('op_2', null, [])
  const { leader_id, timelines } = await present()
  assert.deepEqual([leader_id, timelines], ['ins_1', [1]])
})

test('what was remembered by a restore that stopped nothing is out of date', async () => {
  await remember('op_1', 'ins_1', [1])
  await remember('op_2', 'ins_2', [1, 2])
  const { directory, leader_id, timelines } = await present()
  assert.deepEqual([directory, leader_id, timelines], ['before_op_2', 'ins_2', [1, 2]])
})

test('an undo that has begun is in the way of the restore before it', async () => {
  await remember('op_1', 'ins_1', [1])
  await database.transaction((tx) => claimUndo(tx, CLUSTER, 'op_2'))
  assert.equal((await present()).operation_id, 'op_2')
})

test('what was set aside stays while the cluster does not serve, however old it is', async () => {
  await remember('op_1', 'ins_1', [1])
  await database.query("update restore_undo set expires_at = now() - interval '1 day'")
  assert.equal((await listExpiredUndos(database)).length, 1)
  await database.query("update cluster set state = 'failed'")
  assert.equal((await listExpiredUndos(database)).length, 0)
})

test('an undo brings again what restores have taken back since, and nothing older', async () => {
  const from = new Date('2026-11-20T00:00:00Z')
  await insertTakenBack(database, CLUSTER, 'op_0', { from, lsn: '0/1' })
  await database.query("update taken_back set to_at = now() - interval '1 day'")
  await remember('op_1', 'ins_1', [1])
  await insertTakenBack(database, CLUSTER, 'op_1', { from, lsn: '0/2' })
  await insertTakenBack(database, CLUSTER, 'op_1', { from, lsn: '0/3' })
  assert.deepEqual((await listTakenBack(database, CLUSTER)).map(({ lsn }) => lsn).sort(), [
    '0/1',
    '0/2',
  ])
  await deleteTakenBack(database, await present())
  assert.deepEqual(
    (await listTakenBack(database, CLUSTER)).map(({ lsn }) => lsn),
    ['0/1'],
  )
})

test('clients hear of a restore that closes the cluster, of nothing that came later', async () => {
  const end = (id: string, state: string) =>
    database.query('update operation set state = $2 where id = $1', [id, state])
  const begin = (id: string, kind: string, state = 'running') =>
    database.query(
      `insert into operation (id, kind, title, state, cluster_id, input, created_by, lane)
       values ($1, $2, '', $3, $4, '{}', 'me', $5)`,
      [id, kind, state, CLUSTER, kind === 'create-backup' ? 'backup' : 'cluster'],
    )
  const toState = (state: string) => database.query('update cluster set state = $1', [state])
  const restore = { cluster_id: CLUSTER, name: 'demo', operation_id: 'op_2', failed: false }

  await toState('restoring')
  await begin('op_1', 'undelete-cluster')
  assert.deepEqual(await listClosedClusters(database), [])
  await end('op_1', 'succeeded')
  await begin('op_2', 'restore-cluster')
  await begin('op_3', 'create-backup')
  await begin('op_4', 'switchover', 'scheduled')
  assert.deepEqual(await listClosedClusters(database), [restore])
  await end('op_2', 'failed')
  await toState('failed')
  assert.deepEqual(await listClosedClusters(database), [{ ...restore, failed: true }])
  await toState('available')
  assert.deepEqual(await listClosedClusters(database), [])
  await toState('failed')
  await begin('op_5', 'delete-cluster')
  assert.deepEqual(await listClosedClusters(database), [])
})
