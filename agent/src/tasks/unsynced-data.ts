// Owns data that is replayed without syncing anything, and synced as a whole when that has ended:
// otherwise each segment that is fetched, and each checkpoint, waits for the disk. A host that
// loses power meanwhile may keep any part of it, in any order, and nobody would see that: so a
// mark, on the disk before all else, says that what is there is no database. Whoever finds it
// begins anew.
import { lstat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { hasCode } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'

/** Beside the data directory: it must outlast the data while that is fetched again. */
const MARK = 'howdah.unsynced'
const MARK_TIMEOUT_MS = 30_000

const markOf = (directory: string) => join(dirname(directory), MARK)

/** Throws where nobody can tell: what is not seen must not count as synced. */
export async function isUnsynced(directory: string): Promise<boolean> {
  try {
    await lstat(markOf(directory))
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false
    throw error
  }
}

async function run(root: HostRoot, ...argv: [string, ...string[]]): Promise<void> {
  await runProgram({ argv, timeoutMs: MARK_TIMEOUT_MS, user: root.dropTo })
}

/** Returns once the mark would outlast a loss of power. */
export async function markUnsynced(root: HostRoot, directory: string): Promise<void> {
  const mark = markOf(directory)
  await run(root, '/usr/bin/touch', '--', mark)
  await run(root, '/usr/bin/sync', '--', mark, dirname(mark))
}

/** For data that is on the disk as a whole. */
export async function removeMark(root: HostRoot, directory: string): Promise<void> {
  const mark = markOf(directory)
  await run(root, '/usr/bin/rm', '-f', '--', mark)
  await run(root, '/usr/bin/sync', '--', dirname(mark))
}

/**
 * Syncs all of it, links to elsewhere too, and only then takes the mark away. Returns milliseconds.
 */
export async function syncData(
  root: HostRoot,
  directory: string,
  limits: { binDirectory: string; timeoutMs: number; signal: AbortSignal },
): Promise<number> {
  const { binDirectory, timeoutMs, signal } = limits
  const startedMs = performance.now()
  const argv = [`${binDirectory}/initdb`, '--sync-only', '-D', directory] as const
  await runProgram({ argv: [...argv], timeoutMs, user: root.dropTo, signal })
  await removeMark(root, directory)
  return Math.round(performance.now() - startedMs)
}
