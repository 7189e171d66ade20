// Owns the removal of what a service wrote. It happens with the rights of the service user, so a
// link that a service planted can lead to nothing that the service could not remove itself.
import { lstat, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type HostSpec, UNFINISHED_MARK } from '@howdah/core/host-spec.ts'
import { below, type HostRoot, isServiceTop, topOf } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { endStrayPrograms } from './stray-programs.ts'
import { TaskError } from './task-error.ts'

export interface RemovalNeeds {
  root: HostRoot
  spec: HostSpec | undefined
  /** The revision whose services are all started and stopped. */
  appliedRevision: number
  timeoutMs: number
  signal: AbortSignal
}

/** Success as well when there is nothing. Takes paths below `data`, `run` and `log`. */
export async function removeData(relative: string, needs: RemovalNeeds): Promise<void> {
  const { root } = needs
  if (!isServiceTop(topOf(relative)) || !relative.includes('/')) {
    throw new TaskError('refused', `${relative} is not below data, run or log`)
  }
  const path = below(root, relative)
  refuseInUse(relative, needs)
  await endStrayPrograms(path)
  // The mark goes last: what is half removed is not whole.
  const mark = `${path}${UNFINISHED_MARK}`
  const found = await Promise.all([path, mark].map((one) => lstat(one).catch(() => undefined)))
  if (found.every((one) => one === undefined)) return
  const parent = await realpath(dirname(path))
  if (parent !== join(await realpath(root.path), dirname(relative))) {
    throw new TaskError('refused', `${relative} leads out of the host's root`)
  }
  for (const one of [path, mark]) {
    await runProgram({
      argv: ['/usr/bin/rm', '--recursive', '--force', '--one-file-system', '--', one],
      timeoutMs: needs.timeoutMs,
      user: root.dropTo,
      signal: needs.signal,
    })
  }
}

/** Throws `in-use` while the spec has, or may have, something that works there. */
export function refuseInUse(
  relative: string,
  { root, spec, appliedRevision }: Pick<RemovalNeeds, 'root' | 'spec' | 'appliedRevision'>,
): void {
  // A service that the newest spec no longer has may still be stopping, and writing.
  if (spec !== undefined && spec.revision !== appliedRevision) {
    throw new TaskError('in-use', `the spec ${spec.revision} is still being applied`)
  }
  const user = findUser(below(root, relative), spec)
  if (user !== undefined) {
    throw new TaskError('in-use', `${relative} is in use by the applied spec (${user})`)
  }
}

/** What mentions the path or something below it; a longer name that starts alike does not count. */
function findUser(path: string, spec: HostSpec | undefined): string | undefined {
  const escaped = path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const mention = new RegExp(`${escaped}(?![A-Za-z0-9_.-])`)
  const service = spec?.services.find((candidate) =>
    [...candidate.args, ...Object.values(candidate.env)].some((word) => mention.test(word)),
  )
  if (service !== undefined) return `service ${service.name}`
  const file = spec?.files.find((candidate) => mention.test(candidate.content))
  return file === undefined ? undefined : `file ${file.path}`
}
