// Owns how a repository's answer (`pgbackrest info --output=json`) is read. What is read is what
// another program printed: parsed before it is believed.
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { HowdahError } from './errors.ts'
import { parseSegmentName } from './wal.ts'

export const BackupLabel = Type.String({
  pattern: '^[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?$',
})

const Entry = Type.Object({
  label: BackupLabel,
  type: Type.Enum(['full', 'diff', 'incr']),
  annotation: Type.Optional(Type.Union([Type.Record(Type.String(), Type.String()), Type.Null()])),
  error: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])),
  reference: Type.Union([Type.Array(Type.String()), Type.Null()]),
  archive: Type.Object({
    start: Type.Union([Type.String(), Type.Null()]),
    stop: Type.Union([Type.String(), Type.Null()]),
  }),
  lsn: Type.Object({
    start: Type.Union([Type.String(), Type.Null()]),
    stop: Type.Union([Type.String(), Type.Null()]),
  }),
  info: Type.Object({
    size: Type.Integer(),
    delta: Type.Integer(),
    repository: Type.Object({ size: Type.Optional(Type.Integer()), delta: Type.Integer() }),
  }),
  timestamp: Type.Object({ start: Type.Integer(), stop: Type.Integer() }),
})

const Answer = Type.Array(
  Type.Object({
    name: Type.String(),
    backup: Type.Array(Entry),
    status: Type.Object({
      code: Type.Integer(),
      message: Type.String(),
      lock: Type.Optional(
        Type.Object({
          backup: Type.Object({
            held: Type.Boolean(),
            size: Type.Optional(Type.Integer()),
            'size-cplt': Type.Optional(Type.Integer()),
          }),
        }),
      ),
    }),
  }),
)

export const BackupInfo = Type.Object({
  /** The timeline that it was taken on. */
  timeline: Type.Integer(),
  lsn_start: Type.String(),
  lsn_stop: Type.String(),
  /** Of the database, and what this backup read of it. */
  size_bytes: Type.Integer(),
  read_bytes: Type.Integer(),
  /** What this backup added to the repository, compressed. */
  repository_bytes: Type.Integer(),
  /** Labels of the backups without which it is worth nothing. */
  needs: Type.Array(Type.String()),
  /** Pages whose checksum was wrong when it was taken. */
  page_errors: Type.Boolean(),
})
export type BackupInfo = Static<typeof BackupInfo>

export type BackupType = 'full' | 'differential' | 'incremental'

const TYPES = { full: 'full', diff: 'differential', incr: 'incremental' } as const
/** The words of the program for ours. */
export const BACKUP_TYPE_OPTION = {
  full: 'full',
  differential: 'diff',
  incremental: 'incr',
} as const

export interface ListedBackup {
  label: string
  type: BackupType
  info: BackupInfo
  startedAt: Date
  stoppedAt: Date
  /** The operation that made it, when it was one of ours. */
  operationId: string | null
}

export interface RepositoryAnswer {
  /** Whether the stanza is there; without it there are no backups. */
  isThere: boolean
  backups: ListedBackup[]
  /** A backup that runs now. */
  running: { doneBytes: number; totalBytes: number } | undefined
}

/** The annotation that a backup carries, so that a step that runs again finds what it made. */
export const OPERATION_ANNOTATION = 'operation'

/** The program's codes: it could read everything, and has backups, or none yet. */
const READ: readonly number[] = [0, 2]
/** There is no stanza, or nothing in it. */
const NOT_THERE: readonly number[] = [1, 3]

/**
 * Throws `repository-failed` when it is not what the program prints, or the program could not read
 * everything: it lists no backups then, just as where there are none, and ends well.
 */
export function parseRepositoryAnswer(text: string, stanza: string): RepositoryAnswer {
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch (cause) {
    throw new HowdahError('repository-failed', 'the list of backups is no JSON', { cause })
  }
  if (!Value.Check(Answer, answer)) {
    throw new HowdahError('repository-failed', 'the list of backups has an unknown form')
  }
  const own = answer.find((entry) => entry.name === stanza)
  if (own === undefined) return { isThere: false, backups: [], running: undefined }
  const { code, message, lock: locks } = own.status
  if (!READ.includes(code) && !NOT_THERE.includes(code)) {
    throw new HowdahError('repository-failed', `backups cannot be listed: ${message}`)
  }
  const lock = locks?.backup
  return {
    isThere: READ.includes(code),
    backups: own.backup.map(toListed),
    running:
      lock?.held === true
        ? { doneBytes: lock['size-cplt'] ?? 0, totalBytes: lock.size ?? 0 }
        : undefined,
  }
}

function toListed(entry: Static<typeof Entry>): ListedBackup {
  const start = parseSegmentName(entry.archive.start ?? '')
  return {
    label: entry.label,
    type: TYPES[entry.type],
    startedAt: new Date(entry.timestamp.start * 1000),
    stoppedAt: new Date(entry.timestamp.stop * 1000),
    operationId: entry.annotation?.[OPERATION_ANNOTATION] ?? null,
    info: {
      timeline: start?.timeline ?? 1,
      lsn_start: entry.lsn.start ?? '0/0',
      lsn_stop: entry.lsn.stop ?? '0/0',
      size_bytes: entry.info.size,
      read_bytes: entry.info.delta,
      repository_bytes: entry.info.repository.delta,
      needs: entry.reference ?? [],
      page_errors: entry.error === true,
    },
  }
}
