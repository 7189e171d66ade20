// Owns telling which processes belong to one home: the last word when a platform is stopped, since
// a supervisor that was killed leaves what it ran to nobody. Linux only, by /proc.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'

export interface HomeProcess {
  pid: number
  parentPid: number
  /** Clock ticks after boot: tells it from a later process with the same pid. */
  startTicks: string
  program: string
  directory: string
}

// What the platform starts. A shell or an editor that stands in the home is a person's, not ours.
const PROGRAMS =
  /^(s6-[a-z]+|postgres|initdb|etcd|haproxy|pgbouncer|pgbackrest|patroni|control-plane|agent)$/

/** Every live process that the platform at `home` (a real path, without links) started. */
export function findHomeProcesses(home: string): HomeProcess[] {
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  return pids.flatMap((pid) => {
    const process = readProcess(Number(pid))
    return process !== undefined && isOfHome(process, home) ? [process] : []
  })
}

export function isAlive(known: HomeProcess): boolean {
  return readProcess(known.pid)?.startTicks === known.startTicks
}

function isOfHome(process: HomeProcess, home: string): boolean {
  const inHome = ['platform', 'hosts'].some((part) => {
    const root = join(home, part)
    return process.directory === root || process.directory.startsWith(`${root}/`)
  })
  return inHome && PROGRAMS.test(process.program)
}

/** Undefined for one that ended, is a zombie, or belongs to another user. */
function readProcess(pid: number): HomeProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in parentheses, may hold spaces and parentheses itself.
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, parentPid, startTicks] = [fields[0], fields[1], fields[19]]
    if (state === undefined || state === 'Z' || state === 'X' || startTicks === undefined) {
      return undefined
    }
    const directory = readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '')
    const program = programName(name, readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0'))
    return { pid, parentPid: Number(parentPid), startTicks, program, directory }
  } catch {
    return undefined
  }
}

// Node and Python show their own name: the script says what runs. PostgreSQL's children write a
// sentence over their arguments, but their name stays.
function programName(name: string, argv: string[]): string {
  for (const word of argv.slice(0, 3)) {
    const script = /(?:^|\/)(control-plane|agent)\/src\/main\.ts$/.exec(word)
    if (script?.[1] !== undefined) return script[1]
    if (basename(word) === 'patroni') return 'patroni'
  }
  return name
}
