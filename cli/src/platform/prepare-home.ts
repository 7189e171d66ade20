// Owns the directories and the first secrets of a home. Idempotent: a start that died half-way is
// completed by the next. Nothing outside the home is touched.
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readOptional, writeDurable } from './durable-file.ts'
import type { PlatformLayout } from './layout.ts'
import type { ServiceUser } from './service-user.ts'

/** The home itself and where its lock is; two that do it at once do no harm. */
export async function makeHome(layout: PlatformLayout): Promise<void> {
  for (const directory of [layout.home, layout.platform]) await makeDirectory(directory, 0o755)
}

/** Under the home's lock: of two that make the master key at once, one would lose its secrets. */
export async function prepareHome(layout: PlatformLayout, user: ServiceUser): Promise<void> {
  // The service user passes through these on the way to its data; secrets have their own mode.
  for (const directory of [layout.log, layout.services]) await makeDirectory(directory, 0o755)
  for (const directory of [layout.clusters, layout.compileCache]) {
    await makeDirectory(directory, 0o700)
  }
  await makeDirectory(layout.runDirectory, 0o755)
  await makeDirectory(layout.backups, 0o700)
  for (const directory of [layout.runDirectory, layout.backups]) {
    if (user.dropTo !== undefined) await chown(directory, user.uid, user.gid)
  }
  for (const host of layout.hosts) {
    for (const directory of [dirname(host.root), host.root, host.services]) {
      await makeDirectory(directory, 0o755)
    }
    await makeDirectory(host.agent, 0o700)
  }
  await ensureMasterKey(layout.masterKeyFile)
}

// Never replaced: every sealed secret in the platform database would be lost with it.
async function ensureMasterKey(path: string): Promise<void> {
  if ((await readOptional(path)) !== undefined) return
  await writeDurable(path, `${randomBytes(32).toString('hex')}\n`, 0o600)
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  const created = await mkdir(path, { recursive: true, mode })
  // A umask of 077 would shut the service user out; a directory that was there keeps its mode.
  if (created !== undefined) await chmod(path, mode)
}
