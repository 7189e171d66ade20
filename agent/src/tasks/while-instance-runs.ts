// Owns the end of a backup whose instance stopped: the backup program would wait for an answer of
// the session that it had, for half an hour (its db-timeout), with its lock on the repository.
import { findPostmaster, isRunning } from '../sentinel/postmaster.ts'
import { TaskError } from './task-error.ts'

const LOOK_MS = 500
/** The program mostly finds out by itself, and says more. */
const GRACE_MS = 3000

/** Of a rendered configuration: the data directories that are on this host. */
export function localDataDirectories(config: string): string[] {
  const found = [...config.matchAll(/^pg(\d+)-path=(.+)$/gm)]
  return found
    .filter(([, number]) => !new RegExp(`^pg${number}-host=`, 'm').test(config))
    .map(([, , path]) => path as string)
}

/**
 * `work` gets a signal that also aborts a moment after one of these instances stopped, and its
 * failure then says so. An instance that does not run at the start is not watched.
 */
export async function whileInstanceRuns<T>(
  dataDirectories: readonly string[],
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const watched = dataDirectories
    .map((directory) => findPostmaster(directory))
    .filter((postmaster) => postmaster !== undefined)
  const stopped = new AbortController()
  let goneSinceMs: number | undefined
  const timer = setInterval(() => {
    if (watched.every(isRunning)) return
    goneSinceMs ??= performance.now()
    if (performance.now() - goneSinceMs >= GRACE_MS) stopped.abort()
  }, LOOK_MS)
  try {
    return await work(AbortSignal.any([signal, stopped.signal]))
  } catch (error) {
    if (!stopped.signal.aborted || signal.aborted) throw error
    throw new TaskError('instance-stopped', 'the instance stopped while it was copied')
  } finally {
    clearInterval(timer)
  }
}
