// Owns what an agent that was killed leaves behind of its tasks: programs that still write into a
// data directory, and files in which the secrets of a repository stand.
import { readdirSync, readFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { pause } from '../wake.ts'
import { TaskError } from './task-error.ts'

const LOOK_MS = 50
const END_TIMEOUT_MS = 30_000
/** All files of a task begin with it. */
const TASK_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/

function argvOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')
  } catch {
    // Gone meanwhile, or not ours.
    return []
  }
}

function running(): { pid: number; argv: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map((name) => ({ pid: Number(name), argv: argvOf(Number(name)) }))
}

/** The backup program, at work on that directory or on one below it. */
export function worksOn(argv: readonly string[], directory: string): boolean {
  if (!(argv[0] ?? '').endsWith('pgbackrest')) return false
  const option = '--pg1-path='
  return argv.some((arg) => {
    const path = arg.startsWith(option) ? arg.slice(option.length) : undefined
    return path === directory || path?.startsWith(`${directory}/`) === true
  })
}

/**
 * Ends those that a killed agent started there: what they write would come back while it is
 * removed. Only for directories that no service uses: those have programs of their own.
 */
export async function endStrayPrograms(directory: string): Promise<void> {
  const deadlineMs = performance.now() + END_TIMEOUT_MS
  for (;;) {
    const strays = running().filter(({ argv }) => worksOn(argv, directory))
    if (strays.length === 0) return
    if (performance.now() > deadlineMs) {
      throw new TaskError('in-use', `process ${strays[0]?.pid} works in ${directory} and stays`)
    }
    for (const { pid } of strays) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended.
      }
    }
    await pause(LOOK_MS, new AbortController().signal)
  }
}

/** Of tasks that nobody runs any more. A program that outlived its agent keeps its files. */
export async function removeTaskFiles(rootPath: string): Promise<void> {
  const directory = join(rootPath, HOST_LAYOUT.tasks)
  const argvs = running().flatMap(({ argv }) => argv)
  for (const name of await readdir(directory)) {
    const id = TASK_ID.exec(name)?.[0]
    if (id === undefined) continue
    const isUsed = argvs.some((arg) => arg.includes(join(directory, id)))
    if (!isUsed) await rm(join(directory, name), { recursive: true, force: true })
  }
}
