// Decides what a restore that failed says of its backup: whether something in it is broken, or
// whether only the way to it was, as with a store or a host that is away. Pure; a backup that is
// called damaged without being so is missing when it is needed.
import { HowdahError } from '@howdah/core/errors.ts'
import type { TaskResult } from '@howdah/core/protocol.ts'

/** Checksum, file, format, a file that is missing, and what cannot be decrypted. */
const BROKEN_OBJECT: readonly string[] = ['026', '028', '029', '055', '095'].map(
  (code) => `pgbackrest-${code}`,
)
/** Where the program tries each repository, it has no code for what was wrong with one: a name. */
const BROKEN_FILE: readonly string[] = [
  '[ChecksumError]',
  '[FileInvalidError]',
  '[FormatError]',
  '[FileMissingError]',
  '[CryptoError]',
]
const UNFETCHED = '042'
/** What PostgreSQL says of pages and records that cannot be right. */
const BROKEN_DATA: readonly string[] = [
  'PANIC',
  'invalid page',
  'page verification failed',
  'corrupted',
  'could not read block',
]
/** PostgreSQL gives up as loudly when WAL, room or memory is missing. */
const EXCUSES: readonly string[] = [
  'No space left',
  'Cannot allocate memory',
  'Too many open files',
  'could not locate',
  'WAL ends before',
  'could not create lock file',
]

export function isBroken({ errorCode, error }: Pick<TaskResult, 'errorCode' | 'error'>): boolean {
  if (BROKEN_OBJECT.includes(errorCode)) return true
  const says = (words: readonly string[]) => words.some((word) => error.includes(word))
  return errorCode === 'recovery-failed' && says(BROKEN_DATA) && !says(EXCUSES)
}

/**
 * Whether WAL is broken, by what was logged where replay ended; else only the way to it was. No
 * words: it is not there, which whoever looks at the archive sees as well, and perhaps mends.
 */
export function isWalBroken(error: string): boolean {
  const code = /ERROR: \[(\d{3})\]/.exec(error)?.[1]
  if (code === undefined) return error !== ''
  if (code === UNFETCHED) return BROKEN_FILE.some((name) => error.includes(name))
  return BROKEN_OBJECT.includes(`pgbackrest-${code}`)
}

/**
 * `backup-damaged` only where the backup itself is what is wrong; `task-lost`: its host is silent.
 */
export function recoveryFailure(
  result: Pick<TaskResult, 'errorCode' | 'error'>,
  said = result.error,
): HowdahError {
  if (result.errorCode === 'host-silent') return new HowdahError('task-lost', said)
  return new HowdahError(isBroken(result) ? 'backup-damaged' : 'repository-failed', said)
}
