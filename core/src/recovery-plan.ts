// Decides what a recovery begins with and where it ends: which backup, and which target in words
// that PostgreSQL takes. Pure; a target that cannot be reached is refused with what can.
import type { BackupInfo } from './backup-info.ts'
import { HowdahError } from './errors.ts'
import type { TaskAction } from './protocol.ts'
import { formatLsn, parseLsn, SEGMENT_BYTES } from './wal.ts'

export type RecoveryTarget = Extract<TaskAction, { kind: 'recover-data' }>['target']

export interface BackupChoice {
  id: string
  repository_id: string
  label: string
  info: BackupInfo
  stopped_at: Date
  damage: string
}

/** At most one of the first four; `backup` alone is its end, with one of them the start. */
export interface WantedTarget {
  at?: string | undefined
  lsn?: string | undefined
  xid?: string | undefined
  restore_point?: string | undefined
  backup?: string | undefined
}

export interface RecoveryPlan<Choice extends BackupChoice> {
  backup: Choice
  target: RecoveryTarget
  /** For people. */
  said: string
  accuracy: string
  /** The moment of the target, where it is known without a replay. */
  at?: string
}

export interface RestorePointRow {
  name: string
  lsn: string
  at: string
}

/** How far the archive goes, as far as anybody saw; nulls where nobody did. */
export interface ArchivedEnd {
  /** The end of the last segment that is archived without a gap before it. */
  lsn: string | null
  /** When that was archived. */
  at: string | null
  /** Nothing that was written by then was missing, from the backup on. */
  isWhole?: boolean
}

/** The newest moment that there is to restore; nulls where nobody knows. */
export interface RecoveryEnd {
  atMs: number
  lsn: string | null
  /** The first transaction that has not begun. */
  xid: string | null
}

/**
 * What a restore in place has taken back: no replay along the present history passes through it.
 */
export interface TakenBack {
  fromMs: number
  toMs: number
  /** What is before it is kept. */
  lsn: string
}

interface Known {
  restorePoints: readonly RestorePointRow[]
  nowMs: number
  end?: RecoveryEnd
  takenBack?: readonly TakenBack[]
}

/** PostgreSQL rounds nothing, but the repository tells the end of a backup in whole seconds. */
const BACKUP_CLOCK_MS = 1000

export function planRecovery<Choice extends BackupChoice>(
  backups: readonly Choice[],
  wanted: WantedTarget,
  known: Known,
): RecoveryPlan<Choice> {
  const kinds = (['at', 'lsn', 'xid', 'restore_point'] as const).filter(
    (kind) => wanted[kind] !== undefined,
  )
  if (kinds.length > 1) {
    throw new HowdahError('bad-request', `give one of ${kinds.join(', ')}, not all`)
  }
  const sound = backups
    .filter((backup) => backup.damage === '')
    .sort((a, b) => a.stopped_at.getTime() - b.stopped_at.getTime())
  const named = wanted.backup === undefined ? undefined : requireNamed(backups, wanted.backup)
  const candidates = named === undefined ? sound : [named]
  if (candidates.length === 0) {
    throw new HowdahError('outside-window', 'there is no backup yet that could be restored')
  }
  switch (kinds[0]) {
    case 'at':
      return planTime(candidates, wanted.at as string, known)
    case 'lsn':
      return sayWhich(planLsn(candidates, wanted.lsn as string, `LSN ${wanted.lsn}`, known), known)
    case 'restore_point':
      return planRestorePoint(candidates, wanted.restore_point as string, known)
    case 'xid':
      return sayWhich(planXid(candidates, wanted.xid as string, known), known)
    default:
      return named === undefined ? planLatest(candidates) : planEndOf(named)
  }
}

function requireNamed<Choice extends BackupChoice>(
  backups: readonly Choice[],
  reference: string,
): Choice {
  const found = backups.find(({ id, label }) => id === reference || label === reference)
  if (found === undefined) throw new HowdahError('not-found', `there is no backup ${reference}`)
  return found
}

function planLatest<Choice extends BackupChoice>(candidates: readonly Choice[]) {
  return {
    backup: candidates.at(-1) as Choice,
    target: { kind: 'latest' as const, value: '' },
    said: 'the end of the archive',
    accuracy: 'every transaction whose WAL is in the repository',
  }
}

function planEndOf<Choice extends BackupChoice>(backup: Choice) {
  return {
    backup,
    target: { kind: 'immediate' as const, value: '' },
    said: `the end of backup ${backup.label}`,
    accuracy: 'the first consistent moment after the backup',
  }
}

function outside(said: string, from: string, to: string | null): HowdahError {
  const window = to === null ? `from ${from} on can` : `from ${from} to ${to} can`
  return new HowdahError('outside-window', `${said}; ${window}`)
}

function planTime<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  at: string,
  { nowMs, end, takenBack = [] }: Known,
): RecoveryPlan<Choice> {
  const atMs = Date.parse(at)
  const first = candidates[0] as Choice
  const fromMs = first.stopped_at.getTime() + BACKUP_CLOCK_MS
  const from = new Date(fromMs).toISOString()
  const toMs = Math.min(nowMs, end?.atMs ?? nowMs)
  const to = new Date(toMs).toISOString()
  if (atMs > nowMs) throw outside(`${at} has not come yet`, from, to)
  if (atMs > toMs) throw outside(`${at} is not archived`, from, to)
  refuseTakenBack(at, atMs, takenBack)
  const backup = candidates.findLast(
    ({ stopped_at }) => stopped_at.getTime() + BACKUP_CLOCK_MS <= atMs,
  )
  if (backup === undefined) throw outside(`${at} is too early`, from, to)
  return {
    backup,
    // PostgreSQL reads it before it knows any name of a zone, Z included.
    target: { kind: 'time', value: at.toUpperCase().replace('T', ' ').replace(/Z$/, '+00:00') },
    said: at,
    at,
    accuracy: 'every transaction that was committed at or before that time, to the microsecond',
  }
}

/** Replay would stop where the restore did, and call that the moment that was asked for. */
function refuseTakenBack(said: string, atMs: number, takenBack: readonly TakenBack[]): void {
  const found = takenBack.find(({ fromMs, toMs }) => fromMs < atMs && atMs < toMs)
  if (found === undefined) return
  const [from, to] = [found.fromMs, found.toMs].map((ms) => new Date(ms).toISOString())
  const what = `what was between ${from} and ${to} was taken back by a restore`
  const hint = 'howdah restore undo brings it back while it is kept'
  throw new HowdahError('outside-window', `${said}: ${what}; ${hint}`)
}

function planLsn<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  text: string,
  said: string,
  { end }: Known,
): RecoveryPlan<Choice> {
  const lsn = parseLsn(text)
  if (lsn === undefined) throw new HowdahError('bad-request', `${text} is no LSN`)
  const from = (candidates[0] as Choice).info.lsn_stop
  const to = end?.lsn ?? null
  const last = parseLsn(to ?? '')
  if (last !== undefined && lsn > last) throw outside(`${said} is not written yet`, from, to)
  const stops = (backup: Choice) => parseLsn(backup.info.lsn_stop) ?? 0n
  const backup = candidates.findLast((candidate) => stops(candidate) <= lsn)
  if (backup === undefined) throw outside(`${said} is too early`, from, to)
  return {
    backup,
    target: { kind: 'lsn', value: text.toUpperCase() },
    said,
    accuracy: 'every record that begins before that LSN',
  }
}

/**
 * LSNs and transactions come again on the timeline that follows a restore. Those are meant; who
 * noted one before has to be told, as other data comes of it.
 */
function sayWhich<Choice extends BackupChoice>(
  plan: RecoveryPlan<Choice>,
  { takenBack = [] }: Known,
): RecoveryPlan<Choice> {
  const lsn = plan.target.kind === 'lsn' ? parseLsn(plan.target.value) : undefined
  const last = takenBack
    .filter((part) => lsn === undefined || lsn > (parseLsn(part.lsn) ?? 0n))
    .sort((a, b) => a.toMs - b.toMs)
    .at(-1)
  if (last === undefined) return plan
  const at = new Date(last.toMs).toISOString()
  return { ...plan, said: `${plan.said}, and not what the restore of ${at} took back under it` }
}

function planRestorePoint<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  name: string,
  known: Known,
): RecoveryPlan<Choice> {
  const point = known.restorePoints.find((candidate) => candidate.name === name)
  if (point === undefined) {
    const there = known.restorePoints.map((candidate) => candidate.name).slice(0, 10)
    const said = there.length === 0 ? 'there is none' : `there are ${there.join(', ')}`
    throw new HowdahError('not-found', `there is no restore point ${name}: ${said}`)
  }
  // By its LSN: a name could be there twice, and recovery would end at the first.
  const said = `restore point ${name} of ${point.at}`
  // An LSN comes again on the timeline that follows a restore: only the time tells which is meant.
  const lsn = parseLsn(point.lsn) ?? 0n
  const beyond = (known.takenBack ?? []).filter((part) => lsn > (parseLsn(part.lsn) ?? 0n))
  refuseTakenBack(said, Date.parse(point.at), beyond)
  const plan = planLsn(candidates, point.lsn, said, known)
  return { ...plan, at: point.at, accuracy: 'every record up to the restore point' }
}

/** Nobody tells where a transaction is: the oldest backup is before it, if any is. */
function planXid<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  xid: string,
  { end }: Known,
): RecoveryPlan<Choice> {
  const next = end?.xid ?? null
  if (next !== null && BigInt(xid) >= BigInt(next)) {
    const said = `transaction ${xid} has not begun yet: those before ${next} can`
    throw new HowdahError('outside-window', said)
  }
  return {
    backup: candidates[0] as Choice,
    target: { kind: 'xid', value: xid },
    said: `transaction ${xid}`,
    accuracy:
      'that transaction, and everything committed before it; one that has not ended in the WAL ' +
      'after the backup is not found, and the recovery fails',
  }
}

/** Whether what a replay to that target needs is in the repository for sure. */
export function isArchived({ kind, value }: RecoveryTarget, end: ArchivedEnd): boolean {
  switch (kind) {
    case 'immediate':
      return true
    case 'lsn': {
      const [wanted, last] = [parseLsn(value), parseLsn(end.lsn ?? '')]
      return wanted !== undefined && last !== undefined && wanted <= last
    }
    case 'time':
      return end.at !== null && Date.parse(value) <= Date.parse(end.at)
    default:
      return false
  }
}

/**
 * Whether a recovery may begin although the newest WAL could not be brought to the archive. Where
 * somebody leads, that WAL exists, and a replay that ends before it would look as if it had come to
 * its target; where nobody does, the end of the archive is all there is.
 */
export function mayLackNewest(
  target: RecoveryTarget,
  end: ArchivedEnd,
  somebodyLeads: boolean,
): boolean {
  if (isArchived(target, end)) return true
  return !somebodyLeads && (target.kind === 'latest' || target.kind === 'xid')
}

/**
 * What a replay to the end of the archive reaches at least: the last segment may end within a
 * record, and then replay ends before that.
 */
export function archivedFloor({ lsn }: ArchivedEnd): string | null {
  const end = parseLsn(lsn ?? '')
  const segment = BigInt(SEGMENT_BYTES)
  return end === undefined || end < segment ? null : formatLsn(end - segment)
}
