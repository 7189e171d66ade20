// Owns the renaming and measuring of data directories, with the rights of the service user.
import { lstat, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import { HOST_LAYOUT, UNFINISHED_MARK } from '@howdah/core/host-spec.ts'
import type { DataMeasure } from '@howdah/core/protocol.ts'
import { hasCode } from '../atomic-file.ts'
import { below, type HostRoot, topOf } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { TaskError } from './task-error.ts'

export interface MoveContext {
  root: HostRoot
  spec: HostSpec | undefined
  timeoutMs: number
  signal: AbortSignal
}

function dataPath(root: HostRoot, relative: string): string {
  if (topOf(relative) !== HOST_LAYOUT.data || !relative.includes('/')) {
    throw new TaskError('refused', `${relative} is not below data`)
  }
  return below(root, relative)
}

/** Throws where nobody can tell: what is not seen must not count as gone. */
async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return false
    throw error
  }
}

export async function moveData(
  action: { from: string; to: string },
  { root, spec, timeoutMs, signal }: MoveContext,
): Promise<void> {
  const from = dataPath(root, action.from)
  const to = dataPath(root, action.to)
  const isUsed = [from, to].some((path) => JSON.stringify(spec?.files ?? []).includes(path))
  if (isUsed) throw new TaskError('in-use', `${action.from} is in use by the applied spec`)
  const mark = `${from}${UNFINISHED_MARK}`
  const run = (...argv: [string, ...string[]]) =>
    runProgram({ argv, timeoutMs, signal, user: root.dropTo })
  if (!(await isThere(from))) {
    if (!(await isThere(to))) throw new TaskError('refused', `there is no ${action.from}`)
    await run('/usr/bin/rm', '--force', '--', mark)
    return
  }
  if (await isThere(to)) throw new TaskError('refused', `${action.to} is there already`)
  for (const path of [from, to]) {
    const parent = dirname(path)
    const real = await realpath(parent).catch(() => '')
    if (real !== join(await realpath(root.path), parent.slice(root.path.length + 1))) {
      throw new TaskError('refused', `${parent} leads out of the host's root`)
    }
  }
  // What is not whole is so wherever it is: it is marked at both places while it moves.
  if (await isThere(mark)) await run('/usr/bin/cp', '--', mark, `${to}${UNFINISHED_MARK}`)
  await run('/usr/bin/mv', '--no-target-directory', '--', from, to)
  await run('/usr/bin/rm', '--force', '--', mark)
}

export async function measureData(
  relative: string,
  { root, timeoutMs, signal }: MoveContext,
): Promise<DataMeasure> {
  const path = dataPath(root, relative)
  if (!(await isThere(path))) return { exists: false, bytes: 0 }
  const argv = ['/usr/bin/du', '--summarize', '--bytes', '--', path] as const
  // Files come and go while it counts, and then it fails: how much there is is only told.
  const text = await runProgram({ argv: [...argv], timeoutMs, signal, user: root.dropTo }).catch(
    () => '',
  )
  const bytes = Number.parseInt(text, 10)
  return { exists: true, bytes: Number.isSafeInteger(bytes) ? bytes : null }
}
