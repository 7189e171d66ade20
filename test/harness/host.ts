// Owns what a test does to one host of a test platform: finding its processes, killing them,
// rebooting it. Pids come from the host's own directory, so nothing else can be hit.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findHomeProcesses, type HomeProcess } from './home-processes.ts'
import type { TestPlatform } from './platform.ts'
import { until } from './until.ts'

const BACK_TIMEOUT_MS = 20_000
const COMMAND_TIMEOUT_MS = 30_000

const run = promisify(execFile)

/** All processes of a host, its supervisors included. */
export function hostProcesses(platform: TestPlatform, host: string): HomeProcess[] {
  return findHomeProcesses(join(platform.home, 'hosts', host))
}

/** The oldest process of a service, e.g. `agent`, `etcd` or `haproxy-gwy_…`. */
export function serviceProcess(
  platform: TestPlatform,
  host: string,
  service: string,
): HomeProcess | undefined {
  const directory = join(platform.home, 'hosts', host, 'services', service)
  const supervisor = supervisorOf(platform, host, service)
  return hostProcesses(platform, host).find(
    (one) =>
      one.parentPid === supervisor?.pid && (one.service === directory || service === 'agent'),
  )
}

function supervisorOf(platform: TestPlatform, host: string, service: string) {
  const directory = join(platform.home, 'hosts', host, 'services', service)
  return hostProcesses(platform, host).find(
    ({ argv, directory: at }) => argv[0] === 's6-supervise' && at === directory,
  )
}

/** Kills it like the kernel would, and waits until s6 runs another. Returns both pids. */
export async function killService(
  platform: TestPlatform,
  host: string,
  service: string,
): Promise<{ killed: number; born: number }> {
  const victim = serviceProcess(platform, host, service)
  if (victim === undefined) throw new Error(`${service} does not run on ${host}`)
  process.kill(victim.pid, 'SIGKILL')
  const born = await until(`${service} on ${host} to be back`, BACK_TIMEOUT_MS, () => {
    const pid = serviceProcess(platform, host, service)?.pid
    return pid === undefined || pid === victim.pid ? { seen: `pid ${pid}` } : { value: pid }
  })
  return { killed: victim.pid, born }
}

/** A flag of s6-svc for one of the platform's own services, e.g. `control-plane` or `host-1`. */
export async function commandPlatformService(
  platform: TestPlatform,
  service: string,
  ...flags: string[]
): Promise<void> {
  const directory = join(platform.home, 'platform/services', service)
  await run('s6-svc', [...flags, directory], { timeout: COMMAND_TIMEOUT_MS })
}

/** The same for a service of a host, e.g. its `agent`. */
export async function commandHostService(
  platform: TestPlatform,
  host: string,
  service: string,
  ...flags: string[]
): Promise<void> {
  const directory = join(platform.home, 'hosts', host, 'services', service)
  await run('s6-svc', [...flags, directory], { timeout: COMMAND_TIMEOUT_MS })
}

/** All processes of the host end at once, as when the power goes; then its scan process starts. */
export async function rebootHost(platform: TestPlatform, host: string): Promise<void> {
  await loseHost(platform, host)
  await commandPlatformService(platform, host, '-u')
}

/** All processes of the host end at once, and nothing starts them again. */
export async function loseHost(platform: TestPlatform, host: string): Promise<void> {
  // Not again by itself: what is killed must all be gone before the host is up.
  await commandPlatformService(platform, host, '-O')
  await until(`the processes of ${host} to be gone`, BACK_TIMEOUT_MS, () => {
    const left = hostProcesses(platform, host).filter(
      ({ directory }) => !directory.startsWith(join(platform.home, 'platform')),
    )
    for (const { pid } of left) killIfThere(pid)
    return left.length === 0 ? { value: true } : { seen: `${left.length} processes` }
  })
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
