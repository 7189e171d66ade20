// Proves, with a real worker on a real platform database, what an operation does to a cluster that
// was paused after it was asked for.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { type Changes, listenForChanges } from '../changes.ts'
import { readConfig } from '../config.ts'
import type { Database } from '../database.ts'
import { type ClusterRow, findCluster, insertCluster, updateClusterSpec } from '../db/clusters.ts'
import {
  findOperation,
  insertOperation,
  listSteps,
  type OperationRow,
  resetForRetry,
} from '../db/operations.ts'
import { noFaults } from '../faults.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { type OperationDefinition, unlessPaused } from './operation.ts'
import { startWorker, type Worker } from './worker.ts'

const TIMEOUT_MS = 30_000

let own: TestDatabase
let database: Database
let changes: Changes
let worker: Worker
let cluster: ClusterRow
let moves = 0

const move: OperationDefinition<Record<string, never>> = {
  kind: 'move',
  steps: [unlessPaused({ name: 'move', title: 'moves the leader' })],
  async run({ step }) {
    await step('move', async () => {
      moves += 1
      if (moves === 1) throw new Error('BUG: of the test')
    })
  },
}

before(async () => {
  own = await startDatabase()
  database = own.database
  const { url } = own
  const log = pino({ level: 'silent' })
  changes = await listenForChanges(url, log)
  const config = readConfig({ HOWDAH_DATABASE_URL: url, HOWDAH_MASTER_KEY_FILE: 'none' })
  const sealer = makeSealer(randomBytes(32))
  const platform = { database, sealer, changes, faults: noFaults, log, config }
  cluster = await insertCluster(database, 'demo', SPEC)
  worker = await startWorker(platform, new Map([['move', move]]))
})

after(async () => {
  await worker?.stop()
  await changes?.close()
  await own?.stop()
})

async function setPaused(maintenance: boolean): Promise<void> {
  const { version, spec } = (await findCluster(database, cluster.id)) as ClusterRow
  await updateClusterSpec(database, cluster.id, version, { ...spec, maintenance })
}

function begin(startAt: string | null): Promise<OperationRow> {
  return database.transaction((tx) =>
    insertOperation(tx, {
      kind: 'move',
      title: 'move demo',
      clusterId: cluster.id,
      clusterName: 'demo',
      input: {},
      steps: move.steps,
      createdBy: 'test',
      startAt,
    }),
  )
}

async function ended({ id }: OperationRow): Promise<OperationRow> {
  const found = await changes.waitUntil([`operation:${id}`], Date.now() + TIMEOUT_MS, async () => {
    const row = await findOperation(database, id)
    return ['succeeded', 'failed'].includes(row?.state ?? '') ? row : undefined
  })
  assert.ok(found, 'the operation did not end')
  return found
}

async function retry(row: OperationRow): Promise<OperationRow> {
  await database.transaction((tx) => resetForRetry(tx, row))
  return ended(row)
}

test('a scheduled operation is refused where the cluster was paused meanwhile', async () => {
  const scheduled = await begin(new Date(Date.now() + 500).toISOString())
  assert.equal(scheduled.state, 'scheduled')
  await setPaused(true)
  const refused = await ended(scheduled)
  assert.equal(refused.error?.code, 'wrong-state')
  assert.match(refused.error?.detail ?? '', /cluster demo is paused/)
  assert.equal(refused.error?.step, 'move')
  assert.equal(moves, 0)
})

test('so is one that is tried again, until the cluster is resumed', async () => {
  await setPaused(false)
  const failed = await ended(await begin(null))
  assert.deepEqual([failed.state, moves], ['failed', 1])
  await setPaused(true)
  assert.match((await retry(failed)).error?.detail ?? '', /cluster demo is paused/)
  assert.equal(moves, 1)
  await setPaused(false)
  const done = await retry(failed)
  assert.deepEqual([done.state, moves], ['succeeded', 2])
  assert.deepEqual(
    (await listSteps(database, [done.id])).map(({ state }) => state),
    ['succeeded'],
  )
})
