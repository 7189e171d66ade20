// Owns whether this machine gave a run of tests the CPU that it asked for. A leader whose host
// stands still for seconds steps down, and rightly: on a machine that is taken away for as long no
// test of "nobody noticed" can hold, and its failure says nothing.
import { readFileSync } from 'node:fs'

const BEAT_MS = 100

interface Loss {
  /** Of the CPU time that was wanted, what went to others. */
  share: number
  /** How long nothing of ours ran. */
  stallMs: number
}

/** Beyond this a failure is worth another try. */
const STARVED: Loss = { share: 0.2, stallMs: 2000 }
/** Beyond this it says nothing: a leader that stands still for 5 s fences itself. */
const GONE: Loss = { share: 0.5, stallMs: 5000 }

/** What was stolen counts as no time, but a third of the time always counts: what hangs ends. */
const COUNTED_MIN = 1 / 3

export interface Starvation {
  /** A failure is worth another try. */
  isStarved: boolean
  /** A failure says nothing of what was tried. */
  isGone: boolean
  /** Most of the CPU time went to others all the while, not only in one stall. */
  isTaken: boolean
  /** Shares and seconds, for people. */
  says: string
}

export interface Watch {
  /** Milliseconds since the watch began in which the machine was ours. */
  readOwnMs(): number
  /** Ends the watch. */
  end(): Starvation
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

export function watchStarvation(): Watch {
  const before = readCpu()
  const startedMs = performance.now()
  let beatMs = startedMs
  let stallMs = 0
  const beat = () => {
    const nowMs = performance.now()
    stallMs = Math.max(stallMs, nowMs - beatMs - BEAT_MS)
    beatMs = nowMs
  }
  const readShare = () => {
    const now = readCpu()
    const stolen = now.stolen - before.stolen
    return stolen / Math.max(1, stolen + now.worked - before.worked)
  }
  const timer = setInterval(beat, BEAT_MS)
  return {
    readOwnMs: () => (performance.now() - startedMs) * Math.max(COUNTED_MIN, 1 - readShare()),
    end: () => {
      clearInterval(timer)
      beat()
      const share = readShare()
      const isBeyond = (loss: Loss) => share > loss.share || stallMs > loss.stallMs
      const percent = Math.round(share * 100)
      const stallSeconds = (stallMs / 1000).toFixed(1)
      return {
        isStarved: isBeyond(STARVED),
        isGone: isBeyond(GONE),
        isTaken: share > GONE.share,
        says: `${percent} % of the CPU time went to others, stalls of up to ${stallSeconds} s`,
      }
    },
  }
}
