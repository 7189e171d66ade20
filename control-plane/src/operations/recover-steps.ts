// Owns the steps that fetch a backup to a host and replay it there: shared by forks, restores in
// place and drills. What is fetched belongs to nobody until it is whole: the directory is in no
// host's spec.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { DataMeasure, RecoveryReport, TaskAction, TaskResult } from '@howdah/core/protocol.ts'
import type { Stretch } from '@howdah/core/recovery-gaps.ts'
import {
  type ArchivedEnd,
  archivedFloor,
  mayLackNewest,
  type RecoveryTarget,
} from '@howdah/core/recovery-plan.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { formatSegmentName, parseLsn, segmentOf, type WalRange } from '@howdah/core/wal.ts'
import { NOTHING_SEEN, parseStatus } from '../backups/archive-status.ts'
import { isWalBroken, recoveryFailure } from '../backups/recovery-verdict.ts'
import { lookAndRepair } from '../backups/repair-archive.ts'
import { accessOn, askRepository, loadStanza, placeOn } from '../backups/repository-access.ts'
import { findLeader, runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import { listBackups } from '../db/backups.ts'
import { findCluster } from '../db/clusters.ts'
import type { HostRow } from '../db/hosts.ts'
import { activeStanza, findStanzas, type StanzaRow } from '../db/repositories.ts'
import { askAgent } from './agent-task.ts'
import { askWithProgress, makeProgress } from './backup-steps.ts'
import type { StepContext } from './operation.ts'

const DAY_MS = 24 * 3_600_000
const ARCHIVED_TIMEOUT_MS = 60_000
const CLOSE_GAPS_MS = 10_000
const MEASURE_TIMEOUT_MS = 10_000
/** A spec is applied sooner: what is in use for longer is so on purpose. */
const BUSY_MS_MAX = 300_000
const NOTHING_ARCHIVED: ArchivedEnd = { lsn: null, at: null }
/** Somebody else works on it: an earlier run of this very step, whose end is waited for. */
const BUSY = new Set(['pgbackrest-050', 'in-use'])

export interface RecoveryInput {
  /** Whose backup, and where it is. */
  stanza: { cluster_id: string; repository_id: string }
  label: string
  sizeBytes: number
  target: RecoveryTarget
  /** How far the archive went when it was last looked at; drills ask for no moment. */
  archived?: ArchivedEnd
  /** The WAL that it reads, as far as that was known. */
  reads?: Stretch | undefined
}

type WhereListed = Pick<RecoveryInput, 'stanza' | 'label' | 'target'>

/** What a replay must reach, so that nothing is missing. */
export interface MustReach {
  /** With a replay to the end of the archive; null when nobody knows. */
  minimumLsn: string | null
  /** The target itself: that the archive ends before it proves nothing. */
  target?: boolean
}

/** With what the archive lacks on the way there. */
export interface ArchiveReach extends MustReach {
  gaps: readonly WalRange[]
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
  const later = await findLater(step, input)
  const place = placeOn(at.host, at.name, at.port)
  if (later === undefined) return accessOn(repository, place)
  return accessOn({ ...repository, second: await loadStanza(database, sealer, later) }, place)
}

async function findLater({ database }: StepContext, input: WhereListed) {
  const stanzas = await findStanzas(database, input.stanza.cluster_id)
  const filled = (await listBackups(database, input.stanza.cluster_id)).map(
    ({ repository_id }) => repository_id,
  )
  return laterStanza(stanzas, filled, input)
}

/**
 * The place in which WAL goes on after that of the backup. One that was given up, or has no backup
 * yet, holds nothing that the other lacks, and would stand in the way where it does not answer.
 */
export function laterStanza<
  Row extends Pick<StanzaRow, 'repository_id' | 'created_at' | 'retired_at' | 'expires_at'>,
>(
  stanzas: readonly Row[],
  filled: readonly string[],
  { stanza, target }: Pick<RecoveryInput, 'stanza' | 'target'>,
  nowMs = Date.now(),
): Row | undefined {
  const own = stanzas.find(({ repository_id }) => repository_id === stanza.repository_id)
  if (target.kind === 'immediate') return undefined
  const endMs = target.kind === 'time' ? Date.parse(target.value) : Number.POSITIVE_INFINITY
  const covers = (row: Row) => (row.retired_at?.getTime() ?? Number.POSITIVE_INFINITY) >= endMs
  if (own !== undefined && endMs < Number.POSITIVE_INFINITY && covers(own)) return undefined
  const later = stanzas
    .filter((row) => row.created_at.getTime() > (own?.created_at.getTime() ?? 0))
    .filter((row) => row.expires_at === null || row.expires_at.getTime() > nowMs)
    .filter((row) => filled.includes(row.repository_id))
    .sort((a, b) => a.created_at.getTime() - b.created_at.getTime())
  return later.find((row) => endMs < Number.POSITIVE_INFINITY && covers(row)) ?? later.at(-1)
}

/**
 * Asks the repositories that the recovery will read, from there. Throws `repository-failed` where
 * one does not answer, or lacks the backup: a row is only what was there when somebody last looked.
 */
export async function requireListed(
  step: StepContext,
  input: WhereListed,
  at: Pick<RecoveryPlaceOnHost, 'host' | 'name' | 'port'>,
): Promise<void> {
  const whence = { host: at.host, instance: { id: at.name, postgres_port: at.port } }
  const ask = async (stanza: RecoveryInput['stanza']) => {
    const repository = await loadStanza(step.database, step.sealer, stanza)
    return askRepository(step, repository, whence, step.operationId, 'probe')
  }
  const { backups } = await ask(input.stanza)
  if (!backups.some(({ label }) => label === input.label)) {
    throw new HowdahError('repository-failed', `${input.label} is not in its repository any more`)
  }
  const later = await findLater(step, input)
  if (later === undefined || (await ask(later)).isThere) return
  const said = `the WAL after ${input.label} is not in its repository any more`
  throw new HowdahError('repository-failed', said)
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
  const action = {
    kind: 'restore-data' as const,
    repository,
    dataDirectory: directoryOf(at),
    label: input.label,
  }
  const result = await askWhenFree(step, at, action, async () => {
    const bytes = await measure(step, at)
    if (bytes !== null) await step.say(progress(bytes, input.sizeBytes))
  })
  if (!result.ok) throw recoveryFailure(result)
  await step.say(progress(input.sizeBytes, input.sizeBytes))
}

/** As long as it takes; asked again while something that ends by itself is in the way. */
async function askWhenFree(
  step: StepContext,
  at: RecoveryPlaceOnHost,
  action: TaskAction,
  look: () => Promise<void> = async () => undefined,
): Promise<TaskResult> {
  const { operationId } = step
  const request = { hostId: at.host.id, operationId, timeoutMs: DAY_MS, action }
  const startedMs = Date.now()
  return await step.until([], DAY_MS, async () => {
    const result = await askWithProgress(step, request, look)
    const isBusy = !result.ok && BUSY.has(result.errorCode)
    if (!isBusy || Date.now() - startedMs > BUSY_MS_MAX) return result
    await step.say(result.error)
    return undefined
  })
}

async function measure(step: StepContext, at: RecoveryPlaceOnHost): Promise<number | null> {
  const result = await askAgent(step, {
    hostId: at.host.id,
    timeoutMs: MEASURE_TIMEOUT_MS,
    action: { kind: 'measure-data', path: directoryOf(at) },
  })
  return result.ok ? (result.value as DataMeasure).bytes : null
}

/** Replays up to the target and runs the statements there. */
export async function replay(
  step: StepContext,
  input: RecoveryInput,
  at: RecoveryPlaceOnHost,
  then: { statements: Statement[]; amcheck: boolean } & MustReach,
): Promise<RecoveryReport> {
  await step.say('replays')
  const { statements, amcheck } = then
  const action = { ...(await recoverAction(step, input, at)), statements, amcheck }
  const result = await askWhenFree(step, at, action)
  if (!result.ok) throw recoveryFailure(result, lastLines(result.error))
  const report = result.value as RecoveryReport
  refuseTooEarly(report, then)
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
  const action = { ...(await recoverAction(step, input, at)), replica: true }
  const result = await askWhenFree(step, at, action)
  if (!result.ok) throw recoveryFailure(result, lastLines(result.error))
}

async function recoverAction(step: StepContext, input: RecoveryInput, at: RecoveryPlaceOnHost) {
  return {
    kind: 'recover-data' as const,
    repository: await replayAccessAt(step, input, at),
    dataDirectory: directoryOf(at),
    label: input.label,
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
 * be archived tells one from the other. `backup-damaged` names the segment in `extra` where the log
 * shows that WAL is what is wrong, and not the way to it.
 */
export function refuseTooEarly(
  report: Pick<RecoveryReport, 'lsn' | 'reachedEnd' | 'lastCommitAt' | 'end'>,
  must: MustReach,
): void {
  if (!report.reachedEnd) return
  const minimum = parseLsn(must.minimumLsn ?? '')
  const reached = parseLsn(report.lsn)
  if (minimum !== undefined && reached !== undefined && reached < minimum) {
    throw tooEarly(report, `before ${must.minimumLsn}: WAL is missing`)
  }
  if (must.target !== true) return
  const last = report.lastCommitAt === null ? '' : `, with the commit of ${report.lastCommitAt}`
  const said =
    `the archive ends at ${report.lsn}${last}, before that moment: ` +
    'WAL is missing, or nothing was committed after'
  throw new HowdahError('repository-failed', said)
}

function tooEarly({ lsn, end }: Pick<RecoveryReport, 'lsn' | 'end'>, what: string): HowdahError {
  if (end === undefined) {
    return new HowdahError('repository-failed', `replay ended at ${lsn}, ${what}`)
  }
  const number = segmentOf(parseLsn(end.lsn) ?? 0n)
  const last = formatSegmentName({ timeline: end.timeline, number })
  const why = end.error === '' ? '' : `: ${end.error}`
  const said = `replay ended at ${end.lsn} in ${last}, ${what}${why}`
  if (!isWalBroken(end.error)) return new HowdahError('repository-failed', said)
  // A record may begin in the segment before the one that could not be fetched.
  const segment = /unable to get (?:WAL file ')?([0-9A-F]{24})/.exec(end.error)?.[1] ?? last
  return new HowdahError('backup-damaged', said, { extra: { segment } })
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
 * Has the source archive what it wrote last, and returns what a replay must reach then. Where that
 * fails, the recovery goes on only if its target needs none of it: before anything is stopped or
 * fetched, `outside-window` says how far the archive goes. `sourceId`: null when the source is
 * gone.
 */
export async function reachOfArchive(
  step: StepContext,
  { target, archived = NOTHING_ARCHIVED }: RecoveryInput,
  sourceId: string | null,
): Promise<ArchiveReach> {
  const minimumLsn = archivedFloor(archived)
  if (sourceId === null) {
    const isUnsure = target.kind === 'time' && archived.isWhole !== true
    await step.say(
      isUnsure
        ? 'the source is gone, and nobody saw that it had archived all it wrote: WAL must go on ' +
            'beyond that moment'
        : 'the source is gone: what it archived is there',
    )
    return { minimumLsn, target: isUnsure, gaps: [] }
  }
  try {
    return await archivePresent(step, sourceId)
  } catch (error) {
    const leads = (await findLeader(step, sourceId)) !== undefined
    const why = describeError(error)
    if (!mayLackNewest(target, archived, leads)) {
      const end =
        archived.at === null ? 'nothing was' : `up to ${archived.at} (${archived.lsn}) was`
      const said = `the newest WAL cannot be archived, ${end}: ${why}`
      throw new HowdahError('outside-window', said, { cause: error })
    }
    await step.say(`goes on with what is archived: ${why}`)
    return { minimumLsn, target: leads && target.kind === 'time', gaps: [] }
  }
}

/**
 * Has the WAL that the source wrote up to now archived, so that it can be replayed. Throws where
 * that is not done within a minute. Returns the LSN that a replay to the end must reach, and what
 * is missing before it.
 */
export async function archivePresent(
  step: StepContext,
  sourceId: string,
): Promise<ArchiveReach & { minimumLsn: string }> {
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
  return { minimumLsn: row?.lsn ?? '0/0', gaps: await closeGaps(step, sourceId) }
}

/**
 * What a leader that went had not archived, the one after it counts as archived, and a replay would
 * end there until somebody looks. Returns what cannot be closed: who needs it must know it, and a
 * replay says so.
 */
async function closeGaps(step: StepContext, sourceId: string): Promise<readonly WalRange[]> {
  const cluster = await findCluster(step.database, sourceId)
  const stanza = await activeStanza(step.database, sourceId)
  if (cluster === undefined || stanza === undefined) return []
  const before = parseStatus(stanza.status) ?? NOTHING_SEEN
  const giveUpMs = Date.now() + CLOSE_GAPS_MS
  return await step.until([], ARCHIVED_TIMEOUT_MS, async () => {
    const { gaps, error } = await lookAndRepair(step, cluster, stanza, before).catch(
      (cause: unknown) => ({ gaps: [], error: describeError(cause) }),
    )
    if (gaps.length === 0 && error === '') return gaps
    const said = `the archive has ${gaps.length} gaps that nobody could close yet`
    await step.say(error === '' ? said : `cannot look for gaps in the archive: ${error}`)
    // Somebody else may be at it, or who has the WAL comes back.
    return Date.now() > giveUpMs ? gaps : undefined
  })
}
