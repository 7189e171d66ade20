// Owns whether this machine gave a run of tests the CPU that it asked for. A leader whose host
// stands still for seconds steps down, and rightly: on a machine that is taken away for as long no
// test of "nobody noticed" can hold, and its failure says nothing.
import { readFileSync } from 'node:fs'

const BEAT_MS = 100
/** Of the CPU time that was wanted, what went to others; and how long nothing of ours ran. */
const STOLEN_MAX = 0.2
const STALL_MS_MAX = 2000

export interface Starvation {
  isStarved: boolean
  /** Shares and seconds, for people. */
  says: string
}

/** Ticks since boot that the CPUs worked, and that were stolen by other guests (proc(5)). */
function readCpu(): { worked: number; stolen: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1)
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return { worked: user + nice + system + irq + softirq, stolen: steal }
}

/** Watches from now on, until the function that it returns is called. */
export function watchStarvation(): () => Starvation {
  const before = readCpu()
  let beatMs = performance.now()
  let stallMs = 0
  const beat = () => {
    const nowMs = performance.now()
    stallMs = Math.max(stallMs, nowMs - beatMs - BEAT_MS)
    beatMs = nowMs
  }
  const timer = setInterval(beat, BEAT_MS)
  return () => {
    clearInterval(timer)
    beat()
    const now = readCpu()
    const stolen = now.stolen - before.stolen
    const share = stolen / Math.max(1, stolen + now.worked - before.worked)
    const percent = Math.round(share * 100)
    const stallSeconds = (stallMs / 1000).toFixed(1)
    return {
      isStarved: share > STOLEN_MAX || stallMs > STALL_MS_MAX,
      says: `${percent} % of the CPU time went to others, stalls of up to ${stallSeconds} s`,
    }
  }
}
