// Owns the steps that fetch a backup to a host and replay it there: shared by forks, restores in
// place and drills. What is fetched belongs to nobody until it is whole: the directory is in no
// host's spec.
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { RecoveryReport } from '@howdah/core/protocol.ts'
import type { RecoveryTarget } from '@howdah/core/recovery-plan.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { parseLsn } from '@howdah/core/wal.ts'
import { recoveryFailure } from '../backups/recovery-verdict.ts'
import { accessOn, loadStanza, placeOn } from '../backups/repository-access.ts'
import { runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import type { HostRow } from '../db/hosts.ts'
import { findStanzas, type StanzaRow } from '../db/repositories.ts'
import { askAgent } from './agent-task.ts'
import { askWithProgress, makeProgress } from './backup-steps.ts'
import type { StepContext } from './operation.ts'

const DAY_MS = 24 * 3_600_000
const ARCHIVED_TIMEOUT_MS = 60_000
const MEASURE_TIMEOUT_MS = 10_000
/** Somebody else works on it: an earlier run of this very step, whose end is waited for. */
const BUSY = new Set(['pgbackrest-050', 'in-use'])

export interface RecoveryInput {
  /** Whose backup, and where it is. */
  stanza: { cluster_id: string; repository_id: string }
  label: string
  sizeBytes: number
  target: RecoveryTarget
}

export interface RecoveryPlaceOnHost {
  host: HostRow
  /** Below `data`: an instance's id, or a drill's. */
  name: string
  port: number
  binDirectory: string
}

async function accessAt(step: StepContext, input: RecoveryInput, at: RecoveryPlaceOnHost) {
  const repository = await loadStanza(step.database, step.sealer, input.stanza)
  return accessOn(repository, placeOn(at.host, at.name, at.port))
}

/** With the repository that the cluster changed to, if it did: WAL goes on there. */
async function replayAccessAt(step: StepContext, input: RecoveryInput, at: RecoveryPlaceOnHost) {
  const { database, sealer } = step
  const repository = await loadStanza(database, sealer, input.stanza)
  const stanzas = await findStanzas(database, input.stanza.cluster_id)
  const isOwn = (row: StanzaRow) => row.repository_id === input.stanza.repository_id
  const ownMs = stanzas.find(isOwn)?.created_at.getTime() ?? 0
  const later = stanzas
    .filter((row) => !isOwn(row) && row.created_at.getTime() > ownMs)
    .sort((a, b) => b.created_at.getTime() - a.created_at.getTime())[0]
  const place = placeOn(at.host, at.name, at.port)
  if (later === undefined) return accessOn(repository, place)
  return accessOn({ ...repository, second: await loadStanza(database, sealer, later) }, place)
}

const directoryOf = (at: RecoveryPlaceOnHost) => `${HOST_LAYOUT.data}/${at.name}/pgdata`

/** Copies the backup's files, with its progress. */
export async function fetchBackup(
  step: StepContext,
  input: RecoveryInput,
  at: RecoveryPlaceOnHost,
): Promise<void> {
  const repository = await accessAt(step, input, at)
  const progress = makeProgress('fetched')
  await step.until([], DAY_MS, async () => {
    const request = {
      hostId: at.host.id,
      operationId: step.operationId,
      timeoutMs: DAY_MS,
      action: {
        kind: 'restore-data' as const,
        repository,
        dataDirectory: directoryOf(at),
        label: input.label,
      },
    }
    const result = await askWithProgress(step, request, async () => {
      const { bytes } = await measure(step, at)
      await step.say(progress(bytes, input.sizeBytes))
    })
    if (result.ok) return true
    if (!BUSY.has(result.errorCode)) throw recoveryFailure(result)
    await step.say(result.error)
    return undefined
  })
  await step.say(progress(input.sizeBytes, input.sizeBytes))
}

async function measure(step: StepContext, at: RecoveryPlaceOnHost): Promise<{ bytes: number }> {
  const result = await askAgent(step, {
    hostId: at.host.id,
    timeoutMs: MEASURE_TIMEOUT_MS,
    action: { kind: 'measure-data', path: directoryOf(at) },
  })
  return result.ok ? (result.value as { bytes: number }) : { bytes: 0 }
}

/** Replays up to the target and runs the statements there. */
export async function replay(
  step: StepContext,
  input: RecoveryInput,
  at: RecoveryPlaceOnHost,
  then: { statements: Statement[]; amcheck: boolean; minimumLsn: string | null },
): Promise<RecoveryReport> {
  await step.say('replays')
  const result = await askAgent(step, {
    hostId: at.host.id,
    operationId: step.operationId,
    timeoutMs: DAY_MS,
    action: {
      ...(await recoverAction(step, input, at)),
      statements: then.statements,
      amcheck: then.amcheck,
    },
  })
  if (!result.ok) throw recoveryFailure(result, lastLines(result.error))
  const report = result.value as RecoveryReport
  refuseTooEarly(report, then.minimumLsn)
  await step.say(
    `replayed to ${report.lsn}, timeline ${report.timeline}, in ${report.replayMs} ms` +
      (report.lastCommitAt === null ? '' : `; last commit ${report.lastCommitAt}`),
  )
  return report
}

/** Up to the target, and no further: what there is then follows a leader. */
export async function replayAsReplica(
  step: StepContext,
  input: RecoveryInput,
  at: RecoveryPlaceOnHost,
): Promise<void> {
  await step.say('replays')
  const result = await askAgent(step, {
    hostId: at.host.id,
    operationId: step.operationId,
    timeoutMs: DAY_MS,
    action: { ...(await recoverAction(step, input, at)), replica: true },
  })
  if (!result.ok) throw new HowdahError('repository-failed', lastLines(result.error))
}

async function recoverAction(step: StepContext, input: RecoveryInput, at: RecoveryPlaceOnHost) {
  return {
    kind: 'recover-data' as const,
    repository: await replayAccessAt(step, input, at),
    dataDirectory: directoryOf(at),
    binDirectory: at.binDirectory,
    superuser: PLATFORM_ROLES.superuser,
    port: at.port,
    target: input.target,
    statements: [],
    amcheck: false,
  }
}

/**
 * Replay ends where WAL is missing just as it ends where there is no more: only what was known to
 * be archived tells one from the other.
 */
function refuseTooEarly(report: RecoveryReport, minimumLsn: string | null): void {
  const minimum = parseLsn(minimumLsn ?? '')
  const reached = parseLsn(report.lsn)
  if (!report.reachedEnd || minimum === undefined || reached === undefined) return
  if (reached >= minimum) return
  const said = `replay ended at ${report.lsn}, before ${minimumLsn}: WAL is missing`
  throw new HowdahError('repository-failed', said)
}

/** What PostgreSQL logged before it gave up. */
function lastLines(text: string): string {
  const fatal = text
    .split('\n')
    .filter(
      (line) => /FATAL|PANIC|ERROR|LOG: {2}invalid/.test(line) && !line.includes('not accepting'),
    )
  return (fatal.length > 0 ? fatal.join('; ') : text).slice(-1000)
}

/**
 * Has the WAL that the source wrote up to now archived, so that it can be replayed. A source that
 * is gone or does not answer has archived what it has: that is said, and nothing waits. Returns
 * the LSN that a replay to the end must reach.
 */
export async function archivePresent(step: StepContext, sourceId: string): Promise<string> {
  const source = { ...step, clusterId: sourceId }
  const [row] = await runOnLeader<{ lsn: string; segment: string }>(source, 'postgres', [
    // Something committed after any target in the past: only then it is known to be reached.
    statement('create table if not exists howdah.mark (at timestamptz not null)'),
    statement('delete from howdah.mark'),
    statement('insert into howdah.mark values (now())'),
    statement('select lsn::text, pg_walfile_name(lsn) as segment from pg_switch_wal() lsn'),
  ])
  const segment = row?.segment ?? ''
  await step.until([], ARCHIVED_TIMEOUT_MS, async () => {
    const [archiver] = await runOnLeader<{ last: string | null }>(source, 'postgres', [
      statement('select last_archived_wal as last from pg_stat_archiver'),
    ])
    await step.say(`waits for ${segment} to be archived; the last one is ${archiver?.last ?? '-'}`)
    return (archiver?.last ?? '') >= segment ? true : undefined
  })
  return row?.lsn ?? '0/0'
}
