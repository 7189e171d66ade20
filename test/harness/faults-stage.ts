// Owns what faults can be done to: the hosts of a test platform, whatever they are made of. A stage
// that cannot do something leaves it out, and the faults that need it are skipped there.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findHomeProcesses, type HomeProcess } from './home-processes.ts'
import { commandPlatformService } from './host.ts'
import { startPlatform, type TestPlatform } from './platform.ts'
import { until } from './until.ts'

/** Between this host and the other hosts; the clients of the test are never cut off by it. */
export interface Cut {
  direction: 'both' | 'in' | 'out'
  /**
   * `dcs`: only etcd's ports; `peers`: all but these; `all`: these, the rest, and the control
   * plane.
   */
  what: 'all' | 'dcs' | 'peers'
  /** Whether packets vanish, or are answered with a reset. */
  how: 'drop' | 'refuse'
}

/** What all of a host has to run on. */
export interface CpuLimit {
  /** Share of one processor; undefined: as much as there is. */
  limit(share: number | undefined): Promise<void>
  /** Of all periods in which it wanted more than its share, and stood still for the rest. */
  starvedMs(): Promise<number>
}

export interface StageHost {
  name: string
  address: string
  /** Its directory as the test sees it. */
  root: string
  processes(): HomeProcess[]
  /** Everything in it ends at once, and nothing starts again before `boot`. */
  kill(): Promise<void>
  boot(): Promise<void>
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** As `kill`, and what was written but not flushed to the disk is gone. */
  powerOff?(): Promise<void>
  /** From the network altogether, its clients included: packets vanish. */
  unplug?(): Promise<void>
  plug?(): Promise<void>
  cut?(cut: Cut): Promise<void>
  mend?(): Promise<void>
  cpu?: CpuLimit
}

export interface Stage extends AsyncDisposable {
  kind: 'namespaces' | 'loopback'
  platform: TestPlatform
  hosts: readonly StageHost[]
}

const GONE_TIMEOUT_MS = 20_000
const run = promisify(execFile)

export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/**
 * Signals everything until nothing new appears: what is being forked while we look is found the
 * next time.
 */
export function signalAll(list: () => HomeProcess[], signal: NodeJS.Signals): void {
  const done = new Set<number>()
  for (let round = 0; round < 20; round += 1) {
    const fresh = list().filter(({ pid }) => !done.has(pid))
    if (fresh.length === 0) return
    for (const { pid } of fresh) {
      done.add(pid)
      signalProcess(pid, signal)
    }
  }
}

/**
 * The main process of the service whose directory's name begins so, e.g. `patroni-`; undefined when
 * it is down.
 */
export function findService(host: StageHost, prefix: string): HomeProcess | undefined {
  const services = join(host.root, 'services')
  const all = host.processes()
  const supervisor = all.find(
    ({ argv, directory }) =>
      argv[0] === 's6-supervise' && directory.startsWith(join(services, prefix)),
  )
  return all.find(
    ({ parentPid, argv }) => parentPid === supervisor?.pid && argv[0] !== 's6-supervise',
  )
}

export function hasService(host: StageHost, prefix: string): boolean {
  return host
    .processes()
    .some(
      ({ argv, directory }) =>
        argv[0] === 's6-supervise' && directory.startsWith(join(host.root, 'services', prefix)),
    )
}

/** Processes of PostgreSQL on a host, and which of them is the postmaster. */
export function findPostgres(host: StageHost): { postmaster?: number; all: number[] } {
  const found = host
    .processes()
    .filter(({ directory }) => directory.endsWith('/pgdata'))
    .filter(({ argv }) => /(^|\/)postgres(:|$)/.test(argv[0] ?? ''))
  const pids = new Set(found.map(({ pid }) => pid))
  const postmaster = found.find(({ parentPid }) => !pids.has(parentPid))?.pid
  return { all: [...pids], ...(postmaster === undefined ? {} : { postmaster }) }
}

/** Hosts on loopback addresses: every user can have them, and only processes can be harmed. */
export async function startLoopbackStage(subnet: string, hostCount = 4): Promise<Stage> {
  const platform = await startPlatform({ subnet, hosts: hostCount })
  const names = Array.from({ length: hostCount }, (_, index) => `host-${index + 1}`)
  const hosts = names.map((name, index) => loopbackHost(platform, name, `${subnet}.${index + 1}`))
  return {
    kind: 'loopback',
    platform,
    hosts,
    async [Symbol.asyncDispose]() {
      for (const host of hosts) await host.thaw()
      await platform.stop()
    },
  }
}

export function loopbackHost(platform: TestPlatform, name: string, address: string): StageHost {
  const root = join(platform.home, 'hosts', name)
  // The scan process of the host is a service of the platform's own scan, which outlives the host.
  const processes = () =>
    findHomeProcesses(root).filter(
      ({ directory }) => !directory.startsWith(join(platform.home, 'platform')),
    )
  return {
    name,
    address,
    root,
    processes,
    async kill() {
      await commandPlatformService(platform, name, '-O')
      await until(`the processes of ${name} to be gone`, GONE_TIMEOUT_MS, () => {
        signalAll(processes, 'SIGKILL')
        const left = processes().length
        return left === 0 ? { value: true } : { seen: `${left} processes` }
      })
    },
    boot: () => commandPlatformService(platform, name, '-u'),
    async freeze() {
      signalAll(processes, 'SIGSTOP')
    },
    async thaw() {
      signalAll(processes, 'SIGCONT')
    },
  }
}

/** Undefined, or why hosts cannot be namespaces here. */
export async function whyNoNamespaces(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'only root can make network namespaces'
  for (const program of ['ip', 'nft', 'unshare', 'nsenter', 'mkfs.ext4', 'mount', 'python3']) {
    const places = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']
    if (!places.some((place) => existsSync(join(place, program)))) return `${program} is missing`
  }
  try {
    await run('unshare', ['--net', '--pid', '--fork', 'true'])
  } catch (error) {
    return `namespaces are not allowed: ${(error as Error).message.trim()}`
  }
  return undefined
}
