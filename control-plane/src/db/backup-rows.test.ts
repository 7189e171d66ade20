// Proves, on a real platform database, what rows about backups hold on to: whose a place is, what a
// damaged backup takes with it, what may still run on hosts, and what nobody has cleaned up.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { BackupInfo, ListedBackup } from '@howdah/core/backup-info.ts'
import { defaultBackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import { pino } from 'pino'
import { assignRepository } from '../backups/repository-access.ts'
import { listenForChanges } from '../changes.ts'
import type { Database } from '../database.ts'
import { askAgent } from '../operations/agent-task.ts'
import { createBackup } from '../operations/create-backup.ts'
import type { Platform } from '../operations/operation.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import {
  listBackups,
  listSchedules,
  markDamaged,
  markProven,
  storeSchedules,
  syncBackups,
} from './backups.ts'
import { type ClusterRow, insertCluster, setClusterState } from './clusters.ts'
import { countCopies, deleteCopy, insertCopy, listLeftCopies } from './drill-copies.ts'
import { insertOperation } from './operations.ts'
import {
  askForStanzaCheck,
  claimNext,
  claimStanzaCheck,
  findRepository,
  insertRepository,
  nextStanza,
  storePlace,
} from './repositories.ts'
import {
  abandonTasks,
  insertTask,
  listPendingTasks,
  listUnended,
  listWithdrawnTasks,
  readResult,
  recordResult,
  withdrawTasks,
} from './tasks.ts'

const sealer = makeSealer(randomBytes(32))
const PLACE = '11111111-1111-4111-8111-111111111111'
let own: TestDatabase
let database: Database
let cluster: ClusterRow
let repositoryId: string

const repository = (name: string, place: string | null) => ({
  name,
  kind: 'directory',
  settings: { path: `/srv/${name}` },
  isDefault: false,
  place,
})

before(async () => {
  own = await startDatabase()
  database = own.database
  repositoryId = (await insertRepository(database, repository('local', PLACE))).id
  cluster = await insertCluster(database, 'demo', SPEC)
  await setClusterState(database, cluster.id, 'available', '')
  await assignRepository(database, sealer, cluster, repositoryId)
})
after(async () => {
  await own?.stop()
})

test('two repositories are never one place, whatever they are called', async () => {
  const taken = { code: 'place-taken' }
  await assert.rejects(insertRepository(database, repository('alias', PLACE)), taken)
  // One that was there before places were looked at.
  const old = await insertRepository(database, repository('old', null))
  await assert.rejects(storePlace(database, old, PLACE), taken)
  await storePlace(database, old, PLACE.replaceAll('1', '2'))
  assert.equal((await findRepository(database, 'old'))?.place, PLACE.replaceAll('1', '2'))
})

test('a place that a cluster moves to is its own only once it was seen to be empty', async () => {
  const { id } = await insertRepository(database, repository('next', null))
  await assignRepository(database, sealer, cluster, id, true)
  assert.equal((await nextStanza(database, cluster.id))?.claimed, false)
  await claimNext(database, cluster.id)
  assert.equal((await nextStanza(database, cluster.id))?.claimed, true)
})

function listed(label: string, needs: string[]): ListedBackup {
  const info = { needs, lsn_start: '0/1', lsn_stop: '0/2', timeline: 1 } as unknown as BackupInfo
  const at = new Date()
  return { label, type: 'full', info, startedAt: at, stoppedAt: at, operationId: null }
}

test('what needs a damaged backup is damaged, until that one is proven', async () => {
  const stanza = { cluster_id: cluster.id, repository_id: repositoryId }
  const all = [listed('F', []), listed('F_D', ['F']), listed('G', [])]
  await syncBackups(database, stanza, all)
  const idOf = async (label: string) =>
    (await listBackups(database, cluster.id)).find((row) => row.label === label)?.id ?? ''
  const damaged = async () =>
    (await listBackups(database, cluster.id))
      .filter(({ damage }) => damage !== '')
      .map(({ label }) => label)
      .sort()
  await markDamaged(database, await idOf('F'), 'a checksum is wrong')
  assert.deepEqual(await damaged(), ['F', 'F_D'])
  await markProven(database, await idOf('F'), 1)
  assert.deepEqual(await damaged(), [])
})

test('a repository whose checks wait has no cluster claimed, nor is any twice', async () => {
  const claim = (repositories: string[], clusters: string[]) =>
    claimStanzaCheck(database, 30, { repositories, clusters })
  assert.equal(await claim([repositoryId], []), undefined)
  assert.equal(await claim([], [cluster.id]), undefined)
  assert.equal((await claim([], []))?.cluster_id, cluster.id)
  // Who leads has changed: the look under way may be waiting for the one who did.
  await askForStanzaCheck(database, cluster.id)
  assert.equal((await claim([], [cluster.id]))?.cluster_id, cluster.id)
})

test('tasks of an operation are ended wherever they may run, and counted until then', async () => {
  await database.query(
    "insert into host (id, name, role, address) values ('hst_1', 'one', 'data', '127.0.0.1')",
  )
  const action = { kind: 'gateway-release' as const, gatewayId: 'gwy_1' }
  const insert = (operationId: string) =>
    insertTask(database, sealer, { hostId: 'hst_1', operationId, timeoutMs: 1000, action })
  const early = await insert('op_1')
  // The step ran again: nobody waits for the first one, which may be running all the same.
  await abandonTasks(database, 'op_1')
  const late = await insert('op_1')
  const other = await insert('op_2')
  const pending = await listPendingTasks(database, sealer, 'hst_1', [])
  // Of one millisecond: their order is none.
  assert.deepEqual(pending.map(({ id }) => id).sort(), [late, other].sort())
  await withdrawTasks(database, 'op_1')
  const withdrawn = await listWithdrawnTasks(database, 'hst_1')
  assert.deepEqual(withdrawn.sort(), [early, late].sort())
  const ended = (id: string) =>
    recordResult(database, 'hst_1', {
      id,
      ok: false,
      value: null,
      error: '',
      errorCode: 'withdrawn',
    })
  await ended(early)
  assert.deepEqual(await listUnended(database, 'op_1'), ['hst_1'])
  await ended(late)
  assert.deepEqual(await listUnended(database, 'op_1'), [])
  assert.equal((await readResult(database, late))?.errorCode, 'withdrawn')
})

test('whoever stops waiting has the task ended, also when its host is away', async () => {
  const request = {
    hostId: 'hst_1',
    operationId: 'op_3',
    timeoutMs: 60_000,
    action: { kind: 'gateway-release' as const, gatewayId: 'gwy_1' },
  }
  const changes = await listenForChanges(own.url, pino({ level: 'silent' }))
  try {
    const platform = { database, sealer, changes }
    const silent = { id: '', ok: false, value: null, error: '', errorCode: 'host-silent' }
    assert.equal((await askAgent(platform, request, async () => silent)).errorCode, 'host-silent')
    assert.equal((await listWithdrawnTasks(database, 'hst_1')).length, 1)
    const cancelled = askAgent(platform, request, () => Promise.reject(new Error('cancelled')))
    await assert.rejects(cancelled, /cancelled/)
    assert.equal((await listWithdrawnTasks(database, 'hst_1')).length, 2)
  } finally {
    await changes.close()
  }
})

test('a backup that was made is not made again because something after it failed', async () => {
  const stanza = { cluster_id: cluster.id, repository_id: repositoryId }
  await storeSchedules(database, cluster.id, defaultBackupPolicy(cluster.id))
  await syncBackups(database, stanza, [{ ...listed('H', []), operationId: 'op_made' }])
  const fullAt = async () =>
    (await listSchedules(database, cluster.id)).find(({ kind }) => kind === 'full')?.next_at
  const before = await fullAt()
  const platform = { database } as Platform
  await createBackup.failed?.(platform, cluster.id, 'the repository was cut off', 'op_made')
  assert.deepEqual(await fullAt(), before)
  await createBackup.failed?.(platform, cluster.id, 'the repository was cut off', 'op_nothing')
  assert.ok(Number(await fullAt()) < Date.now() + 400_000)
})

test('the copy of a drill that ended is found, that of one that runs is left', async () => {
  const running = await insertOperation(database, {
    kind: 'restore-drill',
    title: '',
    clusterId: cluster.id,
    clusterName: 'demo',
    input: {},
    steps: [],
    createdBy: 'howdah',
    lane: 'backup',
  })
  for (const [port, operation_id] of ['op_gone', running.id].entries()) {
    await insertCopy(database, { host_id: 'hst_1', port: port + 1, operation_id })
  }
  assert.deepEqual(await listLeftCopies(database), [
    { operation_id: 'op_gone', host_id: 'hst_1', port: 1 },
  ])
  assert.equal((await countCopies(database)).get('hst_1'), 2)
  await deleteCopy(database, 'op_gone')
  assert.deepEqual(await listLeftCopies(database), [])
})
