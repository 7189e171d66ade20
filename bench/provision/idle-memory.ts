// Owns what a platform costs when nothing happens: the proportional set size of its processes, by
// what they are.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { findHomeProcesses, type HomeProcess } from '../../test/harness/home-processes.ts'

export interface MemoryShare {
  what: string
  processes: number
  pssBytes: number
}

/** Of every process that belongs to the home, the largest share first. */
export function readIdleMemory(home: string): MemoryShare[] {
  const shares = new Map<string, MemoryShare>()
  for (const one of findHomeProcesses(home)) {
    const what = describe(one)
    const share = shares.get(what) ?? { what, processes: 0, pssBytes: 0 }
    share.processes += 1
    share.pssBytes += readPss(one.pid)
    shares.set(what, share)
  }
  return [...shares.values()].sort((a, b) => b.pssBytes - a.pssBytes)
}

function describe({ argv }: HomeProcess): string {
  const [program = '', ...args] = argv
  if (args.some((word) => word.endsWith('control-plane/src/main.ts'))) return 'control plane'
  if (args.some((word) => word.endsWith('agent/src/main.ts'))) return 'agents'
  if (program.startsWith('s6-')) return 's6'
  if (basename(program).startsWith('postgres')) return 'platform database'
  return basename(program)
}

/** 0 for a process that has ended meanwhile. */
function readPss(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
