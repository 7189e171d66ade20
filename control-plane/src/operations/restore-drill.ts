// Proves a cluster's newest backup: restores it into a throw-away directory, replays all WAL there
// is, looks through every relation for damage, and compares a ledger that the platform writes. What
// it took is the time to recover that can be counted on.
import type { RestoreDrillReport } from '@howdah/core/contract/drills.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { refuseLeft } from '@howdah/core/recovery-gaps.ts'
import { planRecovery } from '@howdah/core/recovery-plan.ts'
import { isOnHistory, parseStatus } from '../backups/archive-status.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import { findBackup, listBackups, markDamaged, markProven, runSoon } from '../db/backups.ts'
import { findCluster } from '../db/clusters.ts'
import { ensureDrill, storeReport } from '../db/drills.ts'
import { addEvent } from '../db/events.ts'
import { activeStanza, askForStanzaCheck } from '../db/repositories.ts'
import { cleanUp, copyName, reserveCopy } from './drill-copy.ts'
import { endTasks } from './end-tasks.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import {
  archivePresent,
  fetchBackup,
  type RecoveryInput,
  type RecoveryPlaceOnHost,
  replay,
  requireListed,
} from './recover-steps.ts'

const FULL_SOON_SECONDS = 600

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

const LEDGER_TABLE = `create table if not exists howdah.restore_ledger (
    id bigint generated always as identity primary key, run text not null unique,
    at timestamptz not null default now())`
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
    // A failure is told at the end, when nothing is left behind.
    const fetched = await step('fetch', (context) =>
      timed(async () => fetchBackup(context, plan, await placeOf(context, plan))),
    )
    const replayed = await step('replay', async (context) =>
      fetched.error === ''
        ? timed(async () => look(context, plan, ledger))
        : { ...fetched, ms: 0, value: undefined },
    )
    await step('clean-up', cleanUp)
    const isUndecided = replayed.error !== '' && !replayed.isBroken
    await step('judge', (context) =>
      judge(context, plan, isUndecided, {
        backup: plan.label,
        fetch_ms: fetched.ms,
        replay_ms: replayed.value?.replayMs ?? 0,
        amcheck_ms: replayed.value?.amcheckMs ?? 0,
        recovery_ms: fetched.ms + (replayed.value?.replayMs ?? 0),
        size_bytes: plan.sizeBytes,
        ledger_rows: ledger.rows,
        problem: replayed.value?.problem ?? replayed.error,
        ...(replayed.brokenSegment === undefined ? {} : { broken_segment: replayed.brokenSegment }),
        took_ms: Date.now() - startedMs,
        operation_id: operationId,
      }),
    )
  },
  undo: {
    steps: [
      { name: 'stop', title: 'ends what still runs' },
      { name: 'remove-copy', title: 'removes the copy' },
    ],
    async run({ step }) {
      await step('stop', endTasks)
      await step('remove-copy', cleanUp)
    },
  },
}

async function timed<T>(body: () => Promise<T>) {
  const startedMs = Date.now()
  try {
    const value = await body()
    const ms = Date.now() - startedMs
    return { ms, error: '', isBroken: false, brokenSegment: undefined, value: value ?? undefined }
  } catch (error) {
    if (!(error instanceof HowdahError)) throw error
    const isBroken = error.code === 'backup-damaged'
    const ms = Date.now() - startedMs
    const brokenSegment = error.extra['segment']
    return { ms, error: error.message, isBroken, brokenSegment, value: undefined }
  }
}

async function writeLedger(step: StepContext): Promise<Ledger> {
  await ensureDrill(step.database, {
    kind: restoreDrill.kind,
    clusterId: step.clusterId,
    operationId: step.operationId,
  })
  const rows = await runOnLeader<Omit<Ledger, 'minimumLsn'>>(step, 'postgres', [
    statement(LEDGER_TABLE),
    statement('insert into howdah.restore_ledger (run) values ($1) on conflict (run) do nothing', [
      step.operationId,
    ]),
    statement(LEDGER),
  ])
  const { minimumLsn } = await archivePresent(step, step.clusterId)
  const ledger = rows[0]
  if (ledger === undefined) throw new Error('BUG: a count has one row')
  return { ...ledger, minimumLsn }
}

async function choose(step: StepContext, wanted: string | undefined): Promise<Plan> {
  const cluster = await findCluster(step.database, step.clusterId)
  const status = parseStatus((await activeStanza(step.database, step.clusterId))?.status)
  // What was taken on a timeline that a restore has left is no way to the present.
  const backups = (await listBackups(step.database, step.clusterId)).filter((backup) =>
    isOnHistory(backup, status),
  )
  const named =
    wanted === undefined ? undefined : await findBackup(step.database, step.clusterId, wanted)
  const recovery = planRecovery(
    named === undefined ? backups : [{ ...named, damage: '' }],
    {},
    { restorePoints: [], nowMs: Date.now() },
  )
  refuseLeft(recovery, backups)
  const { backup } = recovery
  const sizeBytes = backup.info.size_bytes
  const copy = await reserveCopy(step, cluster?.spec.postgres_version ?? '', sizeBytes)
  await step.say(`${backup.label} on ${copy.host.name}`)
  return {
    stanza: { cluster_id: step.clusterId, repository_id: backup.repository_id },
    label: backup.label,
    sizeBytes,
    target: { kind: 'latest', value: '' },
    backupId: backup.id,
    hostId: copy.host_id,
    port: copy.port,
  }
}

async function placeOf(step: StepContext, plan: Plan): Promise<RecoveryPlaceOnHost> {
  const host = (await hostsById(step.database)).get(plan.hostId)
  const cluster = await findCluster(step.database, step.clusterId)
  const binDirectory = host?.facts?.postgresql[cluster?.spec.postgres_version ?? '']
  if (host === undefined || binDirectory === undefined) {
    throw new HowdahError('no-capacity', 'the host of the drill is gone')
  }
  return { host, name: copyName(step.operationId), port: plan.port, binDirectory }
}

async function look(step: StepContext, plan: Plan, expected: Ledger) {
  // A replay that ended before there was a ledger has none of its lines.
  const statements: Statement[] = [statement(LEDGER_TABLE), statement(LEDGER)]
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

async function judge(
  step: StepContext,
  plan: Plan,
  isUndecided: boolean,
  report: RestoreDrillReport,
): Promise<void> {
  const { problem, recovery_ms: tookMs } = report
  await storeReport(step.database, step.operationId, report)
  if (problem === '') {
    await markProven(step.database, plan.backupId, tookMs)
    return await step.say(
      `${plan.label} is proven: restored and replayed in ${(tookMs / 1000).toFixed(1)} s, ` +
        `${report.ledger_rows} lines of the ledger found, no damage`,
    )
  }
  if (isUndecided) {
    throw new HowdahError('repository-failed', `nothing is known of ${plan.label}: ${problem}`)
  }
  // A file that is missing is damage only where the rest can be read: a bucket or a disk that is
  // away has no files at all.
  await requireListed(step, plan, await placeOf(step, plan))
  if (report.broken_segment !== undefined) {
    // A gap like any other from now on: the next look tells it, and has a full backup taken.
    await askForStanzaCheck(step.database, step.clusterId)
    throw new HowdahError('backup-damaged', `WAL behind ${plan.label} is broken: ${problem}`)
  }
  await step.database.transaction(async (tx) => {
    await markDamaged(tx, plan.backupId, problem)
    await addEvent(tx, {
      kind: 'backup.damaged',
      message: `backup ${plan.label} could not be proven: ${problem}`,
      clusterId: step.clusterId,
      operationId: step.operationId,
    })
    // What a restore would begin with now was perhaps never proven.
    await runSoon(tx, step.clusterId, 'full', FULL_SOON_SECONDS)
  })
  throw new HowdahError('backup-damaged', `backup ${plan.label} is not proven: ${problem}`)
}
