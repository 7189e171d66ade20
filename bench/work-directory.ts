// Owns the directory that one part of a bench works in: short, as sockets lie below it, and gone at
// the end, with whatever process still works in it.
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { findHomeProcesses } from '../test/harness/home-processes.ts'
import { until } from '../test/harness/until.ts'
import type { BenchUser } from './background-process.ts'

const GONE_TIMEOUT_MS = 10_000

export interface WorkDirectory extends AsyncDisposable {
  path: string
}

export async function makeWorkDirectory(user: BenchUser, name: string): Promise<WorkDirectory> {
  const path = await mkdtemp(`/tmp/hb-${name}-`)
  await chown(path, user.uid, user.gid)
  return {
    path,
    async [Symbol.asyncDispose]() {
      await killLeftovers(path)
      await rm(path, { recursive: true, force: true })
    },
  }
}

/** Only what names the directory in its arguments, or works in it: nothing else can be hit. */
export async function killLeftovers(path: string): Promise<void> {
  await until(`the processes of ${path} to be gone`, GONE_TIMEOUT_MS, () => {
    const left = findHomeProcesses(path)
    for (const { pid } of left) killIfThere(pid, 'SIGKILL')
    return left.length === 0 ? { value: true } : { seen: `${left.length} processes` }
  })
}

export function killIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
