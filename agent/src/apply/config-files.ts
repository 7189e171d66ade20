// Owns the rendered files of the spec: written before any service is told, swept once no service
// is left that could still read them.
import { lstat, readdir, readFile, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { HOST_LAYOUT, type HostFile, type HostSpec } from '@howdah/core/host-spec.ts'
import { hasCode, writeFileAtomic } from '../atomic-file.ts'
import {
  below,
  type HostRoot,
  isServiceTop,
  makeAgentDirectory,
  makeServiceDirectories,
  topOf,
} from '../host-root.ts'

export async function writeConfigFiles(root: HostRoot, spec: HostSpec): Promise<void> {
  const inServiceTops = spec.directories.filter((path) => isServiceTop(topOf(path)))
  await makeServiceDirectories(root, inServiceTops)
  const own = spec.directories.filter((path) => !isServiceTop(topOf(path)))
  const parents = new Set([...own, ...spec.files.map((file) => dirname(file.path))])
  for (const path of parents) await makeAgentDirectory(root, path)
  await Promise.all(spec.files.map((file) => writeIfDifferent(root, file)))
}

async function writeIfDifferent(root: HostRoot, file: HostFile): Promise<void> {
  const path = below(root, file.path)
  const { uid, gid } = root.serviceUser
  const found = await lstat(path).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  })
  const plain = found?.isFile() === true && (found.mode & 0o7777) === 0o600
  const same =
    plain &&
    found.uid === uid &&
    found.gid === gid &&
    found.size === Buffer.byteLength(file.content) &&
    (await readFile(path, 'utf8')) === file.content
  if (same) return
  await writeFileAtomic(path, file.content, { mode: 0o600, owner: { uid, gid } })
}

/** Removes what lies below `config` and is not in the spec, with directories that become empty. */
export async function sweepConfigFiles(root: HostRoot, spec: HostSpec): Promise<void> {
  const keep = new Set([...spec.files.map((file) => file.path), ...spec.directories])
  await sweepDirectory(root, HOST_LAYOUT.config, keep)
}

async function sweepDirectory(
  root: HostRoot,
  relative: string,
  keep: ReadonlySet<string>,
): Promise<void> {
  const entries = await readdir(join(root.path, relative), { withFileTypes: true })
  for (const entry of entries) {
    const path = `${relative}/${entry.name}`
    if (!entry.isDirectory()) {
      if (!keep.has(path)) await rm(join(root.path, path), { force: true })
      continue
    }
    await sweepDirectory(root, path, keep)
    if (keep.has(path)) continue
    await rmdir(join(root.path, path)).catch((error: unknown) => {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error
    })
  }
}
