// Owns how much processor time processes have used: the kernel's own account in nanoseconds, over
// all threads, where it keeps one; otherwise utime and stime in ticks of 10 ms.
import { readdirSync, readFileSync } from 'node:fs'

const TICK_US = 10_000

/**
 * Microseconds of all threads of the processes together. Throws when one is gone: a sum without it
 * would lie.
 */
export function readProcessorTimeUs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ofProcess(pid), 0)
}

function ofProcess(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const nanoseconds = threads.map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')
    return Number(text.split(' ')[0])
  })
  const sum = nanoseconds.reduce((total, value) => total + value, 0)
  return sum > 0 ? sum / 1000 : ofStat(pid)
}

function ofStat(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name, in parentheses, may hold spaces: utime and stime are the 12th and 13th field after
  // it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_US
}
