// Owns the last accepted spec on disk, with which a host comes up when no control plane answers.
import { join } from 'node:path'
import { HOST_LAYOUT, type HostSpec } from '@howdah/core/host-spec.ts'
import { readFileIfPresent, writeFileAtomic } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'
import { checkSpec } from './check-spec.ts'

function specPath(root: HostRoot): string {
  return join(root.path, HOST_LAYOUT.agent, 'spec.json')
}

/** Undefined when there is none. Throws when it is damaged or no longer acceptable. */
export async function loadSpec(root: HostRoot, hostId: string): Promise<HostSpec | undefined> {
  const text = await readFileIfPresent(specPath(root))
  return text === undefined ? undefined : checkSpec(JSON.parse(text), hostId)
}

export async function saveSpec(root: HostRoot, spec: HostSpec): Promise<void> {
  await writeFileAtomic(specPath(root), JSON.stringify(spec), { mode: 0o600 })
}
