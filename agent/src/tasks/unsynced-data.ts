// Owns data that is replayed without syncing anything, and synced as a whole when that has ended:
// otherwise each segment that is fetched, and each checkpoint, waits for the disk. A host that
// loses power meanwhile may keep any part of it, in any order, and nobody would see that: so a
// mark, on the disk before all else, says that what is there is no database. Whoever finds it
// begins anew.
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'

/** Beside PostgreSQL's own files, so that it goes when they are removed. */
const MARK = 'howdah.unsynced'
const MARK_TIMEOUT_MS = 10_000

export async function isUnsynced(directory: string): Promise<boolean> {
  return await lstat(join(directory, MARK)).then(
    () => true,
    () => false,
  )
}

/** Returns once the mark would outlast a loss of power. */
export async function markUnsynced(root: HostRoot, directory: string): Promise<void> {
  const mark = join(directory, MARK)
  const run = (...argv: [string, ...string[]]) =>
    runProgram({ argv, timeoutMs: MARK_TIMEOUT_MS, user: root.dropTo })
  await run('/usr/bin/touch', '--', mark)
  await run('/usr/bin/sync', '--', mark, directory)
}

/** Syncs all of it, links to elsewhere too, and only then takes the mark away. */
export async function syncData(
  root: HostRoot,
  directory: string,
  limits: { binDirectory: string; timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  const { binDirectory, timeoutMs, signal } = limits
  const sync = [`${binDirectory}/initdb`, '--sync-only', '-D', directory] as [string, ...string[]]
  await runProgram({ argv: sync, timeoutMs, user: root.dropTo, signal })
  const mark = join(directory, MARK)
  const remove = ['/usr/bin/rm', '-f', '--', mark] as [string, ...string[]]
  await runProgram({ argv: remove, timeoutMs: MARK_TIMEOUT_MS, user: root.dropTo })
}
