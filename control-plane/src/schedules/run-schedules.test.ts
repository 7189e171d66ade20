// Proves, on a real platform database, that what is due is started once however many control planes
// look, that a busy cluster waits, and that backups and changes of a cluster do not wait for each
// other.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'
import { defaultBackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import { assignRepository } from '../backups/repository-access.ts'
import type { Database } from '../database.ts'
import { listSchedules, runSoon, storeSchedules, syncBackups } from '../db/backups.ts'
import { type ClusterRow, insertCluster, setClusterState } from '../db/clusters.ts'
import { insertOperation, type Lane } from '../db/operations.ts'
import { insertRepository } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { runDue } from './run-schedules.ts'

let own: TestDatabase
let database: Database
let platform: Platform
let repositoryId: string

before(async () => {
  own = await startDatabase()
  database = own.database
  platform = { database, sealer: makeSealer(randomBytes(32)) } as Platform
  const settings = { path: '/nowhere' }
  const repository = { name: 'local', kind: 'directory', settings, isDefault: true, place: null }
  repositoryId = (await insertRepository(database, repository)).id
})
after(async () => {
  await own?.stop()
})
beforeEach(async () => {
  await database.query('truncate operation, stanza, backup, cluster cascade')
})

async function addCluster(name: string): Promise<ClusterRow> {
  const cluster = await insertCluster(database, name, SPEC)
  await setClusterState(database, cluster.id, 'available', '')
  await assignRepository(database, platform.sealer, cluster, repositoryId)
  await storeSchedules(database, cluster.id, defaultBackupPolicy(cluster.id))
  return cluster
}

async function started(): Promise<{ kind: string; cluster_id: string }[]> {
  const { rows } = await database.query<{ kind: string; cluster_id: string }>(
    'select kind, cluster_id from operation order by id',
  )
  return rows
}

function begin(cluster: ClusterRow, kind: string, lane: Lane) {
  return database.transaction((tx) =>
    insertOperation(tx, {
      kind,
      title: kind,
      clusterId: cluster.id,
      clusterName: cluster.name,
      input: {},
      steps: [],
      createdBy: 'test',
      lane,
    }),
  )
}

test('what is due is started once, however many control planes look', async () => {
  const clusters = await Promise.all(['one', 'two', 'three', 'four'].map(addCluster))
  for (const { id } of clusters) await runSoon(database, id, 'full', 0)
  await Promise.all(Array.from({ length: 5 }, () => runDue(platform)))
  const found = await started()
  assert.equal(found.length, 4)
  assert.equal(new Set(found.map((row) => row.cluster_id)).size, 4)
  for (const { id } of clusters) {
    const full = (await listSchedules(database, id)).find(({ kind }) => kind === 'full')
    assert.ok((full?.next_at.getTime() ?? 0) > Date.now())
  }
})

test('a full backup goes before others that are due; they wait until it has ended', async () => {
  const cluster = await addCluster('busy')
  for (const kind of ['drill', 'differential', 'full'] as const) {
    await database.query('update schedule set next_at = now() where kind = $1', [kind])
  }
  await runDue(platform)
  await runDue(platform)
  const kinds = await database.query<{ type: string }>(
    "select input->>'type' as type from operation",
  )
  assert.deepEqual(kinds.rows, [{ type: 'full' }])
  await database.query("update operation set state = 'succeeded'")
  await runDue(platform)
  assert.equal((await started()).length, 2)
  assert.equal((await listSchedules(database, cluster.id)).length, 3)
})

test('a backup and a change of the cluster run side by side, two of a kind do not', async () => {
  const cluster = await addCluster('lanes')
  await begin(cluster, 'update-cluster', 'cluster')
  await begin(cluster, 'create-backup', 'backup')
  await assert.rejects(begin(cluster, 'switchover', 'cluster'), { code: 'operation-running' })
  await assert.rejects(begin(cluster, 'restore-drill', 'backup'), { code: 'operation-running' })
})

test('a cluster that is not available, or has no repository, is left alone', async () => {
  const cluster = await addCluster('gone')
  await runSoon(database, cluster.id, 'full', 0)
  await setClusterState(database, cluster.id, 'deleted', '')
  await runDue(platform)
  await setClusterState(database, cluster.id, 'available', '')
  await database.query('update stanza set retired_at = now()')
  await runDue(platform)
  assert.deepEqual(await started(), [])
})

test('rows of backups follow the repository, and keep what only we know', async () => {
  const cluster = await addCluster('synced')
  const stanza = { cluster_id: cluster.id, repository_id: repositoryId }
  const listed = (label: string) => ({
    label,
    type: 'full' as const,
    startedAt: new Date(0),
    stoppedAt: new Date(1000),
    operationId: null,
    info: {
      timeline: 1,
      lsn_start: '0/1',
      lsn_stop: '0/2',
      size_bytes: 1,
      read_bytes: 1,
      repository_bytes: 1,
      needs: [],
      page_errors: false,
    },
  })
  const first = await syncBackups(database, stanza, [listed('a'), listed('b')])
  await database.query("update backup set proven_at = now(), proven_ms = 5 where label = 'b'")
  const second = await syncBackups(database, stanza, [listed('b'), listed('c')])
  const labels = (added: { label: string }[]) => added.map(({ label }) => label)
  assert.deepEqual([labels(first), labels(second)], [['a', 'b'], ['c']])
  const { rows } = await database.query<{ label: string; proven: boolean }>(
    'select label, proven_at is not null as proven from backup order by label',
  )
  assert.deepEqual(rows, [
    { label: 'b', proven: true },
    { label: 'c', proven: false },
  ])
})
