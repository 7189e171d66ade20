// Owns the slowing down of a backup: the processes that read are stopped whenever they are ahead of
// the rate that was asked for, and go on when they are not. The program itself knows no such limit.
// Whoever leads them is never stopped, so nobody who waits for it gives it up.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'

/** A disk that gives 500 MB/s is ahead by 10 MB at most when it is looked at. */
const LOOK_MS = 20

export interface Throttle {
  end(): void
}

/** Of the children of that process, as long as they live. */
export function startThrottle(leaderPid: number, bytesPerSecondMax: number): Throttle {
  const readBytes = new Map<number, number>()
  let startedMs: number | undefined
  const look = () => {
    const pids = childrenOf(leaderPid)
    if (pids.length === 0) return
    startedMs ??= performance.now()
    for (const pid of pids) readBytes.set(pid, bytesReadBy(pid) ?? readBytes.get(pid) ?? 0)
    const total = [...readBytes.values()].reduce((sum, bytes) => sum + bytes, 0)
    const allowed = ((performance.now() - startedMs) / 1000) * bytesPerSecondMax
    for (const pid of pids) signal(pid, total > allowed ? 'SIGSTOP' : 'SIGCONT')
  }
  const timer = setInterval(look, LOOK_MS)
  return {
    end() {
      clearInterval(timer)
      // One that was stopped would not even learn that its leader is gone.
      for (const pid of readBytes.keys()) if (isProgram(pid)) signal(pid, 'SIGCONT')
    },
  }
}

/** What an agent before this one stopped and did not live to let go: it goes on at full speed. */
export function releaseThrottled(rootPath: string): void {
  const tasks = `=${join(rootPath, HOST_LAYOUT.tasks)}/`
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (Number.isInteger(pid) && isProgram(pid, tasks)) signal(pid, 'SIGCONT')
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // Gone meanwhile, or not ours.
    return ''
  }
}

function childrenOf(pid: number): number[] {
  const text = readText(`/proc/${pid}/task/${pid}/children`)
  return text
    .split(' ')
    .map(Number)
    .filter((child) => child > 1)
}

function bytesReadBy(pid: number): number | undefined {
  const found = /^rchar: (\d+)$/m.exec(readText(`/proc/${pid}/io`))
  return found === null ? undefined : Number(found[1])
}

function isProgram(pid: number, argument = ''): boolean {
  const [program = '', ...args] = readText(`/proc/${pid}/cmdline`).split('\0')
  return program.endsWith('pgbackrest') && args.some((arg) => arg.includes(argument))
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended.
  }
}
