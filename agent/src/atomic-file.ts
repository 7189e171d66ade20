// Owns how the agent writes files: complete and on disk under their final name, or not at all.
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

export interface FileAccess {
  mode: number
  /** Undefined: whoever the agent runs as. */
  owner?: { uid: number; gid: number } | undefined
}

/** Temporary files of an interrupted write start with this; the directory's owner sweeps them. */
export const TEMPORARY_PREFIX = '.new-'

/** Replaces `path`. Its directory must be one that only the agent can write to. */
export async function writeFileAtomic(
  path: string,
  content: string,
  access: FileAccess,
): Promise<void> {
  const suffix = randomBytes(6).toString('hex')
  const temporary = join(dirname(path), `${TEMPORARY_PREFIX}${basename(path)}-${suffix}`)
  try {
    const file = await open(temporary, 'wx', access.mode)
    try {
      await file.writeFile(content)
      // The umask may have taken bits from the mode, e.g. the execute bit of a run script.
      await file.chmod(access.mode)
      if (access.owner !== undefined) await file.chown(access.owner.uid, access.owner.gid)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw new Error(`write ${path}`, { cause: error })
  }
  await syncDirectory(dirname(path))
}

/** Without this a power cut may undo a rename that was already reported. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

export async function readFileIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
