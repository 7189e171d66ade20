// Owns telling which processes belong to a test's home, independently of the product's own search:
// by what they were started with, where they work, and the mark that the agent gives its services.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface HomeProcess {
  pid: number
  parentPid: number
  argv: string[]
  directory: string
  /** Value of HOWDAH_SERVICE: the service's directory; empty for the platform's own parts. */
  service: string
}

/** Every live process that names `home` in its arguments, its working directory or its mark. */
export function findHomeProcesses(home: string): HomeProcess[] {
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  return pids.flatMap((pid) => {
    const found = readProcess(pid)
    if (found === undefined || found.pid === process.pid) return []
    const texts = [...found.argv, found.directory, found.service]
    const isOurs = texts.some((text) => text === home || text.includes(`${home}/`))
    return isOurs ? [found] : []
  })
}

/** Undefined for one that ended, is a zombie, or is another user's. */
function readProcess(pid: string): HomeProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in parentheses, may hold spaces and parentheses itself.
    const [state, parentPid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return undefined
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
    const mark = environment.find((entry) => entry.startsWith('HOWDAH_SERVICE='))
    return {
      pid: Number(pid),
      parentPid: Number(parentPid),
      argv: readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean),
      directory: readlinkSync(`/proc/${pid}/cwd`),
      service: mark?.slice('HOWDAH_SERVICE='.length) ?? '',
    }
  } catch {
    return undefined
  }
}
