// Decides what a recovery begins with and where it ends: which backup, and which target in words
// that PostgreSQL takes. Pure; a target that cannot be reached is refused with what can.
import type { BackupInfo } from './backup-info.ts'
import { HowdahError } from './errors.ts'
import type { TaskAction } from './protocol.ts'
import { parseLsn } from './wal.ts'

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
}

export interface RestorePointRow {
  name: string
  lsn: string
  at: string
}

/** PostgreSQL rounds nothing, but the repository tells the end of a backup in whole seconds. */
const BACKUP_CLOCK_MS = 1000

export function planRecovery<Choice extends BackupChoice>(
  backups: readonly Choice[],
  wanted: WantedTarget,
  known: { restorePoints: readonly RestorePointRow[]; nowMs: number },
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
      return planTime(candidates, wanted.at as string, known.nowMs)
    case 'lsn':
      return planLsn(candidates, wanted.lsn as string, `LSN ${wanted.lsn}`)
    case 'restore_point':
      return planRestorePoint(candidates, wanted.restore_point as string, known.restorePoints)
    case 'xid':
      return planXid(candidates, wanted.xid as string)
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

function planTime<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  at: string,
  nowMs: number,
): RecoveryPlan<Choice> {
  const atMs = Date.parse(at)
  const first = candidates[0] as Choice
  const fromMs = first.stopped_at.getTime() + BACKUP_CLOCK_MS
  const from = new Date(fromMs).toISOString()
  if (atMs > nowMs) {
    const now = new Date(nowMs).toISOString()
    throw new HowdahError('outside-window', `${at} has not come yet; from ${from} to ${now} can`)
  }
  const backup = candidates.findLast(
    ({ stopped_at }) => stopped_at.getTime() + BACKUP_CLOCK_MS <= atMs,
  )
  if (backup === undefined) {
    const to = new Date(nowMs).toISOString()
    throw new HowdahError('outside-window', `${at} is too early; from ${from} to ${to} can`)
  }
  return {
    backup,
    // PostgreSQL reads it before it knows any name of a zone, Z included.
    target: { kind: 'time', value: at.toUpperCase().replace('T', ' ').replace(/Z$/, '+00:00') },
    said: at,
    accuracy: 'every transaction that was committed at or before that time, to the microsecond',
  }
}

function planLsn<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  text: string,
  said: string,
): RecoveryPlan<Choice> {
  const lsn = parseLsn(text)
  if (lsn === undefined) throw new HowdahError('bad-request', `${text} is no LSN`)
  const stops = (backup: Choice) => parseLsn(backup.info.lsn_stop) ?? 0n
  const backup = candidates.findLast((candidate) => stops(candidate) <= lsn)
  if (backup === undefined) {
    const from = (candidates[0] as Choice).info.lsn_stop
    throw new HowdahError('outside-window', `${said} is too early: from ${from} on can be restored`)
  }
  return {
    backup,
    target: { kind: 'lsn', value: text.toUpperCase() },
    said,
    accuracy: 'every record that begins before that LSN',
  }
}

function planRestorePoint<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  name: string,
  points: readonly RestorePointRow[],
): RecoveryPlan<Choice> {
  const point = points.find((candidate) => candidate.name === name)
  if (point === undefined) {
    const there = points.map((candidate) => candidate.name).slice(0, 10)
    const said = there.length === 0 ? 'there is none' : `there are ${there.join(', ')}`
    throw new HowdahError('not-found', `there is no restore point ${name}: ${said}`)
  }
  // By its LSN: a name could be there twice, and recovery would end at the first.
  const said = `restore point ${name} of ${point.at}`
  const plan = planLsn(candidates, point.lsn, said)
  return { ...plan, accuracy: 'every record up to the restore point' }
}

/** Nobody tells where a transaction is: the oldest backup is before it, if any is. */
function planXid<Choice extends BackupChoice>(
  candidates: readonly Choice[],
  xid: string,
): RecoveryPlan<Choice> {
  return {
    backup: candidates[0] as Choice,
    target: { kind: 'xid', value: xid },
    said: `transaction ${xid}`,
    accuracy: 'that transaction, and everything committed before it',
  }
}
