// Proves, on a real platform database and with an agent that answers at once, that nobody begins
// anew where backups are known, and what is removed: never what an operation reads.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'
import { defaultBackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import type { WalRange } from '@howdah/core/wal.ts'
import { lookAtArchive } from '../backups/archive-look.ts'
import { type ArchiveStatus, NOTHING_SEEN } from '../backups/archive-status.ts'
import { assignRepository } from '../backups/repository-access.ts'
import type { Database } from '../database.ts'
import { listBackups, syncBackups } from '../db/backups.ts'
import {
  type ClusterRow,
  findCluster,
  insertCluster,
  insertPlacement,
  listInstances,
  setClusterState,
  updateClusterSpec,
} from '../db/clusters.ts'
import { insertOperation } from '../db/operations.ts'
import { insertRepository } from '../db/repositories.ts'
import { listPendingTasks, recordResult } from '../db/tasks.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { backupSource, prepareRepository, readBackups } from './backup-steps.ts'
import { createBackup } from './create-backup.ts'
import { deleteBackup } from './delete-backup.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const HOST = 'hst_1'
const [OLD, NEW] = ['20261113-010000F', '20261120-010000F']
const sealer = makeSealer(randomBytes(32))

let own: TestDatabase
let database: Database
let cluster: ClusterRow
let repositoryId: string
/** Labels in the repository; undefined: nothing is there at all. */
let held: string[] | undefined
/** What is archived there. */
let archived: WalRange[]
/** What the agent was asked to run, but for questions of the backups. */
let ran: string[]

before(async () => {
  own = await startDatabase()
  database = own.database
  const settings = { path: '/srv/local' }
  const repository = { name: 'local', kind: 'directory', settings, isDefault: false, place: null }
  repositoryId = (await insertRepository(database, repository)).id
  cluster = await insertCluster(database, 'demo', SPEC)
  await setClusterState(database, cluster.id, 'available', '')
  await assignRepository(database, sealer, cluster, repositoryId)
  await placeLeader()
})
beforeEach(() => {
  held = [OLD, NEW]
  archived = []
  ran = []
})
after(async () => {
  await own?.stop()
})

async function placeLeader(): Promise<void> {
  await database.query(
    "insert into host (id, name, role, address) values ($1, 'one', 'data', '127.0.0.1')",
    [HOST],
  )
  const instances = [{ hostId: HOST, number: 1, postgresPort: 5432, restPort: 8008 }]
  await insertPlacement(database, cluster, { instances, gateways: [] })
  const [instance] = await listInstances(database, cluster.id)
  const patroni = { role: 'leader', state: 'running', timeline: 1 }
  await database.query(
    'update host set seen_at = now() + make_interval(hours => 1), services = $1, facts = $2',
    [
      JSON.stringify([{ name: `patroni-${instance?.id}`, patroni }]),
      JSON.stringify({ root: '/srv/host', programs: {} }),
    ],
  )
}

function info(): string {
  const backup = (held ?? []).map((label) => ({
    label,
    type: 'full',
    reference: null,
    archive: { start: '000000010000000000000001', stop: '000000010000000000000001' },
    lsn: { start: '0/1000028', stop: '0/1000100' },
    info: { size: 1, delta: 1, repository: { delta: 1 } },
    timestamp: { start: 1, stop: held?.indexOf(label) ?? 0 },
  }))
  const status = { code: held === undefined ? 1 : 0, message: '' }
  return JSON.stringify([{ name: cluster.id, backup, status }])
}

function run({ command, options }: Extract<TaskAction, { kind: 'pgbackrest' }>): string {
  if (command === 'info') return info()
  ran.push([command, ...options].join(' '))
  const [, label] = /^--set=(.*)$/.exec(options[0] ?? '') ?? []
  if (command === 'expire') held = held?.filter((each) => each !== (label ?? OLD))
  return ''
}

const ARCHIVER = {
  present: '0/5000000',
  timeline: 1,
  archives: true,
  last: '000000010000000000000004',
  last_at: '2026-11-20T01:00:00.000Z',
  failed: null,
  failed_at: null,
  waiting: 0,
  history: '',
}

function answerTo(action: TaskAction): unknown {
  switch (action.kind) {
    case 'sql':
      return [{ rows: [ARCHIVER] }]
    case 'list-archive':
      ran.push(['list', ...(action.directories ?? ['all'])].join(' '))
      return { ranges: archived, histories: [], segments: archived.length, bytes: 0 }
    default:
      return { output: run(action as Extract<TaskAction, { kind: 'pgbackrest' }>) }
  }
}

/** Whoever waits for a task finds it done. */
async function waitUntil<T>(_: unknown, __: unknown, look: () => Promise<T>): Promise<T> {
  for (const { id, action } of await listPendingTasks(database, sealer, HOST, [])) {
    const value = answerTo(action)
    await recordResult(database, HOST, { id, ok: true, value, error: '', errorCode: '' })
  }
  return await look()
}

const said: string[] = []
const context = () =>
  ({
    database,
    sealer,
    changes: { waitUntil },
    clusterId: cluster.id,
    operationId: 'op_1',
    say: async (message: string) => void said.push(message),
    until: (_: unknown, __: unknown, look: () => Promise<unknown>) => look(),
  }) as unknown as StepContext

/** One step of an operation; the others count as done. */
async function runStep<Input>(definition: OperationDefinition<Input>, only: string, input: Input) {
  const step = async <T>(name: string, body: (step: StepContext) => Promise<T>) =>
    name === only ? await body(context()) : (undefined as T)
  await definition.run({ operationId: 'op_1', clusterId: cluster.id, input, step })
}

const labels = async () => (await listBackups(database, cluster.id)).map(({ label }) => label)

test('nobody begins anew in a place that has lost the backups that are known', async () => {
  const source = await backupSource(context())
  held = undefined
  // The very first time a place is empty, and nobody needs to ask.
  await prepareRepository(context(), source)
  assert.deepEqual(ran, ['stanza-create --no-online'])
  held = [OLD, NEW]
  await readBackups(context(), source)
  held = undefined
  ran = []
  const refused = { code: 'repository-failed', message: /nothing is left of the backups/ }
  await assert.rejects(prepareRepository(context(), source), refused)
  await assert.rejects(readBackups(context(), source), refused)
  assert.deepEqual(ran, [])
  assert.deepEqual(await labels(), [NEW, OLD])
})

test('an archive without a segment is a gap only where the backups are still there', async () => {
  const { stanza } = await backupSource(context())
  const look = () => lookAtArchive(context(), cluster, stanza, NOTHING_SEEN)
  const { gaps, error } = await look()
  assert.deepEqual([gaps, error], [[{ timeline: 1, first: 1, last: 4 }], ''])
  held = undefined
  const gone = await look()
  assert.deepEqual(gone.gaps, [])
  assert.match(gone.error, /^nothing is left of the backups/)
})

test('an archive that was large when it was seen last is listed in parts', async () => {
  const source = await backupSource(context())
  await readBackups(context(), source)
  const look = (before: ArchiveStatus) => lookAtArchive(context(), cluster, source.stanza, before)
  archived = [{ timeline: 1, first: 1, last: 4 }]
  const listing = { ranges: archived, after: '', bytes: 0, segments: 0 }
  const before = { ...NOTHING_SEEN, archivedLsn: '0/4000000', archiveSegments: 5000, listing }
  const { gaps, error } = await look(before)
  assert.deepEqual([gaps, error], [[], ''])
  // What is recent, and what comes next in the round.
  assert.deepEqual(ran, ['list 0000000100000000', 'list 0000000100000000'])
  ran = []
  assert.equal((await look(NOTHING_SEEN)).listing, undefined)
  assert.deepEqual(ran, ['list all'])
})

test('a backup of a timeline that an undo took back has no gap behind it', async () => {
  const source = await backupSource(context())
  await readBackups(context(), source)
  const { rows } = await database.query<{ info: unknown }>('select info from backup limit 1')
  await database.query(`update backup set info = jsonb_set(info, '{timeline}', '2')`)
  const { gaps } = await lookAtArchive(context(), cluster, source.stanza, NOTHING_SEEN)
  assert.deepEqual(gaps, [])
  await database.query('update backup set info = $1', [JSON.stringify(rows[0]?.info)])
})

test('nothing is removed while a fork reads, and the next backup removes it', async () => {
  await readBackups(context(), await backupSource(context()))
  const { id } = await insertOperation(database, {
    kind: 'fork-cluster',
    title: 'fork demo as rescue',
    clusterId: null,
    clusterName: 'rescue',
    input: { stanza: { cluster_id: cluster.id, repository_id: repositoryId }, label: OLD },
    steps: [],
    createdBy: 'howdah',
  })
  await runStep(createBackup, 'expire', { type: 'full' })
  assert.match(said.at(-1) ?? '', new RegExp(`fork demo as rescue \\(${id}\\) reads`))
  const refused = { code: 'wrong-state', message: new RegExp(id) }
  await assert.rejects(runStep(deleteBackup, 'remove', { label: OLD }), refused)
  assert.deepEqual(ran, [])
  await database.query("update operation set state = 'succeeded' where id = $1", [id])
  await runStep(createBackup, 'expire', { type: 'full' })
  assert.deepEqual(ran, ['expire --repo1-retention-full=2'])
  assert.deepEqual(await labels(), [NEW])
})

test('days alone, and days beside a count, are what the program is told', async () => {
  const policy = { ...defaultBackupPolicy(cluster.id), keep_days: 30 }
  for (const keep_full of [null, 3]) {
    const { spec, version } = (await findCluster(database, cluster.id)) as ClusterRow
    const backup = { ...policy, keep_full }
    await updateClusterSpec(database, cluster.id, version, { ...spec, backup })
    await runStep(createBackup, 'expire', { type: 'full' })
  }
  const days = 'expire --repo1-retention-full-type=time --repo1-retention-full=30'
  assert.deepEqual(ran, [days, 'expire --repo1-retention-full=3', days])
})

test('a backup that is deleted is removed with its row, but not the last full one', async () => {
  await syncBackups(database, { cluster_id: cluster.id, repository_id: repositoryId }, [])
  await runStep(deleteBackup, 'remove', { label: OLD })
  assert.deepEqual(ran, [`expire --set=${OLD}`])
  assert.deepEqual(await labels(), [NEW])
  const refused = { code: 'wrong-state', message: /the last full backup/ }
  await assert.rejects(runStep(deleteBackup, 'remove', { label: NEW }), refused)
})
