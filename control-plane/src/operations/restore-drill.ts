// Proves a cluster's newest backup: restores it into a throw-away directory, replays all WAL there
// is, looks through every relation for damage, and compares a ledger that the platform writes. What
// it took is the time to recover that can be counted on.
import type { RestoreDrillReport } from '@howdah/core/contract/drills.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { planRecovery } from '@howdah/core/recovery-plan.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import { findBackup, listBackups, markDamaged, markProven } from '../db/backups.ts'
import { findCluster, listInstances } from '../db/clusters.ts'
import { ensureDrill, storeReport } from '../db/drills.ts'
import { addEvent } from '../db/events.ts'
import { type HostRow, hostState } from '../db/hosts.ts'
import { askAgent } from './agent-task.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import {
  archivePresent,
  fetchBackup,
  type RecoveryInput,
  type RecoveryPlaceOnHost,
  replay,
} from './recover-steps.ts'

const REMOVE_TIMEOUT_MS = 300_000
/** Names a socket, below what instances get. */
const PORT_FIRST = 1
const PORT_COUNT = 1000

interface Plan extends RecoveryInput {
  backupId: string
  hostId: string
  port: number
}

interface Ledger {
  minimumLsn: string
  rows: number
  digest: string
}

const LEDGER = `select count(*)::integer as rows,
    coalesce(md5(string_agg(id || ' ' || run, ',' order by id)), '') as digest
  from howdah.restore_ledger where run <> ''`

export const restoreDrill: OperationDefinition<{ backup?: string }> = {
  kind: 'restore-drill',
  lane: 'backup',
  steps: [
    { name: 'write-ledger', title: 'writes a line that must be found again' },
    { name: 'choose', title: 'chooses the backup and a host' },
    { name: 'fetch', title: 'fetches the backup' },
    { name: 'replay', title: 'replays WAL and looks for damage' },
    { name: 'clean-up', title: 'removes the copy' },
    { name: 'judge', title: 'says whether the backup is proven' },
  ],
  async run({ step, input, operationId }) {
    const startedMs = Date.now()
    const ledger = await step('write-ledger', writeLedger)
    const plan = await step('choose', (context) => choose(context, input.backup))
    // A failure is a finding too: it is told at the end, when nothing is left behind.
    const fetched = await step('fetch', (context) =>
      timed(async () => fetchBackup(context, plan, await placeOf(context, plan))),
    )
    const replayed = await step('replay', async (context) =>
      fetched.error === ''
        ? timed(async () => look(context, plan, ledger))
        : { ms: 0, error: fetched.error, value: undefined },
    )
    await step('clean-up', (context) => cleanUp(context, plan))
    await step('judge', (context) =>
      judge(context, plan, {
        backup: plan.label,
        fetch_ms: fetched.ms,
        replay_ms: replayed.value?.replayMs ?? 0,
        amcheck_ms: replayed.value?.amcheckMs ?? 0,
        recovery_ms: fetched.ms + (replayed.value?.replayMs ?? 0),
        size_bytes: plan.sizeBytes,
        ledger_rows: ledger.rows,
        problem: replayed.value?.problem ?? replayed.error,
        took_ms: Date.now() - startedMs,
        operation_id: operationId,
      }),
    )
  },
}

async function timed<T>(body: () => Promise<T>) {
  const startedMs = Date.now()
  try {
    const value = await body()
    return { ms: Date.now() - startedMs, error: '', value: value ?? undefined }
  } catch (error) {
    // Only what the repository and PostgreSQL say is a finding about the backup.
    if (!(error instanceof HowdahError) || error.code !== 'repository-failed') throw error
    return { ms: Date.now() - startedMs, error: error.message, value: undefined }
  }
}

async function writeLedger(step: StepContext): Promise<Ledger> {
  await ensureDrill(step.database, {
    kind: restoreDrill.kind,
    clusterId: step.clusterId,
    operationId: step.operationId,
  })
  const rows = await runOnLeader<Omit<Ledger, 'minimumLsn'>>(step, 'postgres', [
    statement(`create table if not exists howdah.restore_ledger (
      id bigint generated always as identity primary key, run text not null unique,
      at timestamptz not null default now())`),
    statement('insert into howdah.restore_ledger (run) values ($1) on conflict (run) do nothing', [
      step.operationId,
    ]),
    statement(LEDGER),
  ])
  const minimumLsn = await archivePresent(step, step.clusterId)
  const ledger = rows[0]
  if (ledger === undefined) throw new Error('BUG: a count has one row')
  return { ...ledger, minimumLsn }
}

async function choose(step: StepContext, wanted: string | undefined): Promise<Plan> {
  const cluster = await findCluster(step.database, step.clusterId)
  const backups = await listBackups(step.database, step.clusterId)
  const named =
    wanted === undefined ? undefined : await findBackup(step.database, step.clusterId, wanted)
  const { backup } = planRecovery(
    named === undefined ? backups : [{ ...named, damage: '' }],
    {},
    { restorePoints: [], nowMs: Date.now() },
  )
  const host = await chooseHost(step, cluster?.spec.postgres_version ?? '')
  await step.say(`${backup.label} on ${host.name}`)
  const spread = [...step.operationId].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7)
  return {
    stanza: { cluster_id: step.clusterId, repository_id: backup.repository_id },
    label: backup.label,
    sizeBytes: backup.info.size_bytes,
    target: { kind: 'latest', value: '' },
    backupId: backup.id,
    hostId: host.id,
    port: PORT_FIRST + (Math.abs(spread) % PORT_COUNT),
  }
}

/** Not the leader's where there is another: the cluster should not notice. */
async function chooseHost(step: StepContext, version: string): Promise<HostRow> {
  const hosts = [...(await hostsById(step.database)).values()].filter(
    (host) => hostState(host) === 'online' && host.facts?.postgresql[version] !== undefined,
  )
  const instances = await listInstances(step.database, step.clusterId)
  const used = new Set(instances.map((row) => row.host_id))
  const free = (host: HostRow) => host.facts?.diskFreeBytes ?? 0
  const chosen = hosts.sort(
    (a, b) => Number(used.has(a.id)) - Number(used.has(b.id)) || free(b) - free(a),
  )[0]
  if (chosen === undefined) throw new HowdahError('no-capacity', 'no host is online')
  return chosen
}

async function placeOf(step: StepContext, plan: Plan): Promise<RecoveryPlaceOnHost> {
  const host = (await hostsById(step.database)).get(plan.hostId)
  const cluster = await findCluster(step.database, step.clusterId)
  const binDirectory = host?.facts?.postgresql[cluster?.spec.postgres_version ?? '']
  if (host === undefined || binDirectory === undefined) {
    throw new HowdahError('no-capacity', 'the host of the drill is gone')
  }
  return { host, name: nameOf(step), port: plan.port, binDirectory }
}

const nameOf = (step: StepContext) => `drill_${step.operationId}`

async function look(step: StepContext, plan: Plan, expected: Ledger) {
  const statements: Statement[] = [statement(LEDGER)]
  const at = await placeOf(step, plan)
  const { minimumLsn } = expected
  const report = await replay(step, plan, at, { statements, amcheck: true, minimumLsn })
  const found = report.rows[0] as Ledger | undefined
  const isSame = found?.rows === expected.rows && found.digest === expected.digest
  const problems = [
    ...(isSame ? [] : [`the ledger has ${found?.rows ?? 0} of ${expected.rows} lines`]),
    ...(report.damage === null || report.damage === '' ? [] : [`pg_amcheck: ${report.damage}`]),
  ]
  const { replayMs, amcheckMs } = report
  return { replayMs, amcheckMs, problem: problems.join('; ') }
}

async function cleanUp(step: StepContext, plan: Plan): Promise<void> {
  await step.until([], REMOVE_TIMEOUT_MS, async () => {
    const result = await askAgent(step, {
      hostId: plan.hostId,
      operationId: step.operationId,
      timeoutMs: REMOVE_TIMEOUT_MS,
      action: { kind: 'remove-data', path: `${HOST_LAYOUT.data}/${nameOf(step)}` },
    })
    if (result.ok) return true
    if (result.errorCode !== 'in-use') throw new HowdahError('agent-refused', result.error)
    await step.say(result.error)
    return undefined
  })
}

async function judge(step: StepContext, plan: Plan, report: RestoreDrillReport): Promise<void> {
  const { problem, recovery_ms: tookMs } = report
  await storeReport(step.database, step.operationId, report)
  if (problem === '') {
    await markProven(step.database, plan.backupId, tookMs)
    return await step.say(
      `${plan.label} is proven: restored and replayed in ${(tookMs / 1000).toFixed(1)} s, ` +
        `${report.ledger_rows} lines of the ledger found, no damage`,
    )
  }
  await step.database.transaction(async (tx) => {
    await markDamaged(tx, plan.backupId, problem)
    await addEvent(tx, {
      kind: 'backup.damaged',
      message: `backup ${plan.label} could not be proven: ${problem}`,
      clusterId: step.clusterId,
      operationId: step.operationId,
    })
  })
  throw new HowdahError('repository-failed', `backup ${plan.label} is not proven: ${problem}`)
}
