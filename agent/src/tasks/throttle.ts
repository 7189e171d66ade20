// Owns the slowing down of a backup: the processes that read are stopped whenever they are ahead of
// the rate that was asked for, and go on when they are not. The program itself knows no such limit.
// Whoever leads them is never stopped, so nobody who waits for it gives it up. And one is stopped
// only while it copies a file: a write into a full pipe that is interrupted by a stop is a short
// one (pipe(7), signal(7)), which pgBackRest 2.45 takes for whole (fdWrite.c). What it had to say
// to its leader would be cut, and both would wait for each other for half an hour.
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'

/** A disk that gives 500 MB/s is ahead by 10 MB at most when it is looked at. */
const LOOK_MS = 20
/** `write` to standard output, as /proc/PID/syscall has it (proc(5)). */
const ANSWERS = process.arch === 'arm64' ? '64 0x1 ' : '1 0x1 '

export interface ThrottleOptions {
  bytesPerSecondMax: number
  /** Absolute; what is open below them is being copied. */
  copied: readonly string[]
}

export interface Throttle {
  end(): void
}

/** Of the children of that process, as long as they live. */
export function startThrottle(leaderPid: number, options: ThrottleOptions): Throttle {
  const directories = options.copied.map(resolvePath)
  const readBytes = new Map<number, number>()
  const stopped = new Set<number>()
  let startedMs: number | undefined
  const look = () => {
    const pids = childrenOf(leaderPid)
    if (pids.length === 0) return
    startedMs ??= performance.now()
    for (const pid of pids) readBytes.set(pid, bytesReadBy(pid) ?? readBytes.get(pid) ?? 0)
    const total = [...readBytes.values()].reduce((sum, bytes) => sum + bytes, 0)
    const allowed = ((performance.now() - startedMs) / 1000) * options.bytesPerSecondMax
    const isAhead = total > allowed
    for (const pid of pids) {
      // It ended its copy between our look and our signal: its leader may never hear the rest.
      if (stopped.has(pid) && isAnswering(pid)) signal(leaderPid, 'SIGTERM')
      if (isAhead && !stopped.has(pid) && isCopying(pid, directories)) {
        signal(pid, 'SIGSTOP')
        stopped.add(pid)
      }
      if (!isAhead && stopped.delete(pid)) signal(pid, 'SIGCONT')
    }
  }
  const timer = setInterval(look, LOOK_MS)
  return {
    end() {
      clearInterval(timer)
      // One that was stopped would not even learn that its leader is gone.
      for (const pid of stopped) signal(pid, 'SIGCONT')
    },
  }
}

/** Of a process that is stopped: it was, in the middle of saying something. */
function isAnswering(pid: number): boolean {
  return readText(`/proc/${pid}/syscall`).startsWith(ANSWERS)
}

/** As /proc has it, which knows no symbolic links. */
function resolvePath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

function isCopying(pid: number, directories: readonly string[]): boolean {
  const files = `/proc/${pid}/fd`
  try {
    return readdirSync(files)
      .map((name) => readlinkSync(join(files, name)))
      .some((path) => directories.some((directory) => path.startsWith(`${directory}/`)))
  } catch {
    // It closed one meanwhile: the next look sees it as it is then.
    return false
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

function isProgram(pid: number, argument: string): boolean {
  const [program = '', ...args] = readText(`/proc/${pid}/cmdline`).split('\0')
  return program.endsWith('pgbackrest') && args.some((arg) => arg.includes(argument))
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended.
  }
}
