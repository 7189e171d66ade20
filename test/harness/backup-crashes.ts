// Owns letting the control plane die along the operations on backups, and what must be true
// afterwards: each converges, what it made is there once, and nothing else is. The suite takes a
// few points of each, `npm run backup-crashes` takes all.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { createBackup } from '../../control-plane/src/operations/create-backup.ts'
import { deleteBackup } from '../../control-plane/src/operations/delete-backup.ts'
import { forkCluster } from '../../control-plane/src/operations/fork-cluster.ts'
import { restoreCluster } from '../../control-plane/src/operations/restore-cluster.ts'
import { restoreDrill } from '../../control-plane/src/operations/restore-drill.ts'
import { undoRestore } from '../../control-plane/src/operations/undo-restore.ts'
import { sql, type TestCluster } from './cluster.ts'
import { dieAlong, submit } from './crash.ts'
import { differences, type Inventory, inventory } from './inventory.ts'
import { readCluster, type TestPlatform } from './platform.ts'
import { until } from './until.ts'

export const CRASH_MOMENTS = ['before', 'after', 'recorded'] as const
export type CrashMoment = (typeof CRASH_MOMENTS)[number]

export interface CrashStage {
  platform: TestPlatform
  cluster: TestCluster
}

/** Dies at these steps of an operation, at that moment of each. */
export interface CrashPlan {
  moment: CrashMoment
  /** All unless given. */
  steps?: readonly string[] | undefined
}

export type CrashTrial = (stage: CrashStage, plan: CrashPlan) => Promise<void>
type Definition = { kind: string; steps: readonly { name: string }[] }

const NORMAL_MS = 60_000
const SETTLE_MS = 60_000
const FREE_MS = 120_000
const ROWS = 1000
/** What is written down of each run and of each timeline, and what a policy does by itself. */
const HISTORY = [
  /^rows: (?:more|missing): (?:drill|restore_point|restore_undo|schedule|taken_back) /,
  /^dcs: (?:more|missing): key \S+\/history$/,
]

export const CRASH_TRIALS: Readonly<Record<string, CrashTrial>> = {
  'create-backup': crashBackup,
  'restore-drill': crashDrill,
  'fork-cluster': crashFork,
  'restore-cluster': crashRestore,
  'undo-restore': crashUndo,
  'delete-backup': crashDelete,
}

export async function makeCrashStage(platform: TestPlatform): Promise<CrashStage> {
  const cluster = await platform.createCluster('demo', { instances: 1 })
  const stage = { platform, cluster }
  await until('the first backup', FREE_MS, async () =>
    (await backups(stage)).length > 0 ? { value: true } : { seen: 'none' },
  )
  await sql({ cluster }, `create table ledger as select generate_series(1, ${ROWS}) as n`)
  return stage
}

async function backups({ platform }: CrashStage): Promise<Backup[]> {
  const path = '/v1/clusters/demo/backups'
  return (await platform.api<{ data: Backup[] }>('GET', path)).body.data
}

async function present(cluster: TestCluster): Promise<number> {
  const text = 'select count(*)::integer as n from ledger'
  return (await sql<{ n: number }>({ cluster }, text))[0]?.n ?? -1
}

async function dieAlongSteps<Reply extends OperationAccepted>(
  { platform }: CrashStage,
  { kind, steps }: Definition,
  plan: CrashPlan,
  request: { method: string; path: string; body?: unknown },
) {
  const chosen = steps.filter(({ name }) => plan.steps?.includes(name) ?? true)
  const points = chosen.map(({ name }) => `${kind}/${name}:${plan.moment}`)
  const { reply, operation } = await dieAlong<Reply>(platform, points, request, NORMAL_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation))
  return { reply, operation }
}

/** Without anybody dying. */
async function operate({ platform }: CrashStage, method: string, path: string, body?: unknown) {
  const headers = { 'if-match': '*' }
  const { body: reply } = await submit<OperationAccepted>(platform, { method, path, body, headers })
  const operation = await platform.waitOperation(reply.operation.id, NORMAL_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation))
}

/** One that comes by itself, because it is its time, would be in the way. */
async function waitFree({ platform }: CrashStage): Promise<void> {
  await until('nothing to run', FREE_MS, async () => {
    const { body } = await platform.api<{ data: { title: string; state: string }[] }>(
      'GET',
      '/v1/operations?limit=100',
    )
    const running = body.data.filter(({ state }) => state === 'running' || state === 'pending')
    return running.length === 0 ? { value: true } : { seen: running.map((one) => one.title).join() }
  })
}

/** As before, apart from the history; and no task and no copy is left on any host. */
async function assertAsBefore({ platform }: CrashStage, before: Inventory): Promise<void> {
  const hosts = join(platform.home, 'hosts')
  await until('everything to be as before', SETTLE_MS, async () => {
    const changed = differences(before, await inventory(platform))
    const strays = readdirSync(hosts).flatMap((host) =>
      readdirSync(join(hosts, host, 'tasks')).map((name) => `${host}: task ${name}`),
    )
    const isHistory = (line: string) => HISTORY.some((pattern) => pattern.test(line))
    const wrong = [...changed.filter((line) => !isHistory(line)), ...strays]
    return wrong.length === 0 ? { value: true } : { seen: wrong.join('\n') }
  })
}

async function crashBackup(stage: CrashStage, plan: CrashPlan): Promise<void> {
  await waitFree(stage)
  const known = await inventory(stage.platform)
  const before = (await backups(stage)).length
  const request = {
    method: 'POST',
    path: '/v1/clusters/demo/backups',
    body: { type: 'incremental' },
  }
  await dieAlongSteps(stage, createBackup, plan, request)
  assert.equal((await backups(stage)).length, before + 1)
  await assertAsBefore(stage, known)
}

async function crashDelete(stage: CrashStage, plan: CrashPlan): Promise<void> {
  const body = { type: 'incremental' }
  await operate(stage, 'POST', '/v1/clusters/demo/backups', body)
  await waitFree(stage)
  const known = await inventory(stage.platform)
  const [newest, ...others] = await backups(stage)
  const path = `/v1/clusters/demo/backups/${newest?.id}`
  await dieAlongSteps(stage, deleteBackup, plan, { method: 'DELETE', path })
  assert.deepEqual(
    (await backups(stage)).map(({ id }) => id),
    others.map(({ id }) => id),
  )
  await assertAsBefore(stage, known)
}

async function crashDrill(stage: CrashStage, plan: CrashPlan): Promise<void> {
  await waitFree(stage)
  const known = await inventory(stage.platform)
  const path = '/v1/clusters/demo/restore-drills'
  await dieAlongSteps(stage, restoreDrill, plan, { method: 'POST', path, body: {} })
  assert.notEqual((await backups(stage))[0]?.proven_at ?? null, null)
  await assertAsBefore(stage, known)
}

async function crashFork(stage: CrashStage, plan: CrashPlan): Promise<void> {
  const { platform, cluster } = stage
  await waitFree(stage)
  const known = await inventory(platform)
  const name = `twin-${plan.moment}`
  const body = { name, instances: 1 }
  const request = { method: 'POST', path: '/v1/clusters/demo/fork', body }
  const forked = await dieAlongSteps<ClusterAccepted>(stage, forkCluster, plan, request)
  const twin = await readCluster(platform.api, forked.reply, forked.operation)
  assert.equal(await present(twin), await present(cluster))
  await waitFree(stage)
  await operate(stage, 'DELETE', `/v1/clusters/${name}`, { confirm: name, purge: true })
  await assertAsBefore(stage, known)
}

/** Returns with the restore done, and what there was before it set aside. */
async function crashRestore(stage: CrashStage, plan: CrashPlan): Promise<void> {
  const { platform, cluster } = stage
  await waitFree(stage)
  const known = await inventory(platform)
  const before = await present(cluster)
  const point = `point-${plan.moment}-${Date.now()}`
  const path = '/v1/clusters/demo'
  const made = await platform.api('POST', `${path}/restore-points`, { name: point })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  await sql({ cluster }, 'insert into ledger select generate_series(1, 10)')
  const body = { restore_point: point, confirm: 'demo' }
  await dieAlongSteps(stage, restoreCluster, plan, {
    method: 'POST',
    path: `${path}/restore`,
    body,
  })
  assert.equal(await present(cluster), before)
  await assertAsBefore(stage, known)
}

async function crashUndo(stage: CrashStage, plan: CrashPlan): Promise<void> {
  const { platform, cluster } = stage
  await waitFree(stage)
  const known = await inventory(platform)
  const before = await present(cluster)
  const path = '/v1/clusters/demo/restore/undo'
  await dieAlongSteps(stage, undoRestore, plan, { method: 'POST', path, body: { confirm: 'demo' } })
  assert.equal(await present(cluster), before + 10)
  await assertAsBefore(stage, known)
}
