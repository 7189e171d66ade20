// Owns running Python with the patches loaded as Patroni's process loads them.
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PATCHES_FILE, PATRONI_PATCHES } from '../render/patroni-patches.ts'

/** The program's first argument is a directory that goes when it ends; `args` follow. */
export async function withPatches(
  program: string,
  ...args: string[]
): Promise<{ stdout: string; stderr: string }> {
  const directory = await mkdtemp('/tmp/hwd-')
  try {
    await writeFile(join(directory, PATCHES_FILE), PATRONI_PATCHES)
    const env = {
      PATH: '/usr/bin',
      PYTHONPATH: directory,
      PYTHONDONTWRITEBYTECODE: '1',
      HOWDAH_LEAVING: join(directory, 'leaving.sock'),
      HOWDAH_SERVICE: '/patroni-a',
    }
    return await promisify(execFile)('/usr/bin/python3', ['-c', program, directory, ...args], {
      env,
    })
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
