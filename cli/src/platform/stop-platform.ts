// Owns the orderly end of everything that a home runs. Order: first what would repair or change
// things (control plane, agents), then what needs etcd to leave well (Patroni gives up its leader
// key), then etcd, the hosts' scan processes and last the platform database. It works with parts
// already dead.
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findHomeProcesses, type HomeProcess, isAlive } from './home-processes.ts'
import { type PlatformLayout, SERVICE_AGENT, SERVICE_CONTROL_PLANE, SERVICE_DB } from './layout.ts'
import { listServices, stopService, terminateScan } from './s6.ts'

export interface StopReport {
  /** How many processes there were before. */
  found: number
  /** Services that did not end in time, or had lost their supervisor, and were ended by force. */
  forced: string[]
  /** What still runs: nothing, unless the kernel holds it. */
  left: HomeProcess[]
}

export interface StopOptions {
  /** Told what is being stopped, when it changes. */
  say(what: string): void
}

interface HostService {
  name: string
  directory: string
  /** Name of the program that its run script starts. */
  program: string
}

const AGENT_TIMEOUT_MS = 15_000
const GATEWAY_TIMEOUT_MS = 15_000
const PATRONI_TIMEOUT_MS = 90_000
const ETCD_TIMEOUT_MS = 20_000
const DB_TIMEOUT_MS = 60_000
const SCAN_TIMEOUT_MS = 10_000

export async function stopPlatform(
  layout: PlatformLayout,
  options: StopOptions,
): Promise<StopReport> {
  const found = findHomeProcesses(layout.home).length
  const hosts = join(layout.home, 'hosts')
  const scans = (await listServices(hosts)).map((name) => join(hosts, name, 'services'))
  const services = (await Promise.all(scans.map(hostServices))).flat()
  const program = (...names: string[]) => services.filter((one) => names.includes(one.program))
  const known = ['agent', 'haproxy', 'pgbouncer', 'patroni', 'etcd']
  const others = services.filter((one) => !known.includes(one.program))

  options.say('the control plane and the agents')
  const controlPlane = join(layout.services, SERVICE_CONTROL_PLANE)
  const slow = await Promise.all([
    stopAll([{ name: SERVICE_CONTROL_PLANE, directory: controlPlane }], AGENT_TIMEOUT_MS),
    stopAll(program('agent'), AGENT_TIMEOUT_MS),
  ])
  options.say('gateways and databases')
  const slowClusters = await Promise.all([
    stopAll([...program('haproxy', 'pgbouncer'), ...others], GATEWAY_TIMEOUT_MS),
    stopAll(program('patroni'), PATRONI_TIMEOUT_MS),
  ])
  options.say('the dcs')
  const slowDcs = await stopDcs(program('etcd'))
  options.say('the hosts')
  // A host's scan process is itself a service of the platform's.
  const ownServices = await listServices(layout.services)
  const hostScans = ownServices.filter((name) => !isOwnPart(name)).map(serviceIn(layout.services))
  const slowScans = await stopAll(hostScans, SCAN_TIMEOUT_MS)
  options.say('the platform database')
  const db = [serviceIn(layout.services)(SERVICE_DB)]
  const slowDb = await stopAll(db, DB_TIMEOUT_MS)
  await Promise.all([layout.services, ...scans].map(terminateScan))

  const timedOut = [...slow.flat(), ...slowClusters.flat(), ...slowDcs, ...slowScans, ...slowDb]
  const swept = await sweep(layout, options)
  return { found, forced: [...timedOut, ...swept.forced], left: swept.left }
}

function isOwnPart(name: string): boolean {
  return name === SERVICE_DB || name === SERVICE_CONTROL_PLANE
}

function serviceIn(scanDirectory: string): (name: string) => { name: string; directory: string } {
  return (name) => ({ name, directory: join(scanDirectory, name) })
}

/** Names of those that were not down in time. */
async function stopAll(
  services: { name: string; directory: string }[],
  timeoutMs: number,
): Promise<string[]> {
  const stopped = await Promise.all(services.map((one) => stopService(one.directory, timeoutMs)))
  return services.filter((_, index) => !stopped[index]).map((one) => one.name)
}

// One after the other: a leader hands over to another member before it ends, and of members that
// all end at once it would wait seconds for one that can take over.
async function stopDcs(members: HostService[]): Promise<string[]> {
  const slow: string[] = []
  for (const member of members) slow.push(...(await stopAll([member], ETCD_TIMEOUT_MS)))
  return slow
}

async function hostServices(scanDirectory: string): Promise<HostService[]> {
  const names = await listServices(scanDirectory)
  return Promise.all(
    names.map(async (name) => {
      const directory = join(scanDirectory, name)
      const program = name === SERVICE_AGENT ? 'agent' : await runProgramName(directory)
      return { name, directory, program }
    }),
  )
}

// The last line of a run script is the argv; its first word is the program.
async function runProgramName(directory: string): Promise<string> {
  try {
    const lines = (await readFile(join(directory, 'run'), 'utf8')).trim().split('\n')
    return basename(/^"([^"]+)"/.exec(lines.at(-1) ?? '')?.[1] ?? '')
  } catch {
    return ''
  }
}

// What is left now had no living supervisor, or would not end. Supervisors first, since they would
// start again what is killed below them.
async function sweep(
  layout: PlatformLayout,
  options: StopOptions,
): Promise<{ forced: string[]; left: HomeProcess[] }> {
  if (await allGone(layout.home, 2_000)) return { forced: [], left: [] }
  const forced = new Set<string>()
  const note = (process: HomeProcess) => {
    if (!process.program.startsWith('s6-')) forced.add(`${process.program} (pid ${process.pid})`)
  }
  const steps: [NodeJS.Signals, RegExp, number][] = [
    ['SIGTERM', /^s6-(svscan|supervise)$/, 1_000],
    ['SIGTERM', /^(?!postgres$)/, 10_000],
    ['SIGINT', /^postgres$/, 20_000],
    ['SIGKILL', /./, 5_000],
  ]
  for (const [signal, wanted, timeoutMs] of steps) {
    const rest = findHomeProcesses(layout.home)
    if (rest.length === 0) break
    const chosen = rest.filter((process) => wanted.test(process.program))
    if (chosen.length > 0) options.say(describe(chosen))
    for (const process of chosen) {
      note(process)
      sendSignal(process, signal)
    }
    await untilGone(chosen, timeoutMs)
  }
  return { forced: [...forced], left: findHomeProcesses(layout.home) }
}

function describe(processes: HomeProcess[]): string {
  return `what is left: ${[...new Set(processes.map((process) => process.program))].join(', ')}`
}

function sendSignal(process_: HomeProcess, signal: NodeJS.Signals): void {
  if (!isAlive(process_)) return
  try {
    process.kill(process_.pid, signal)
  } catch {
    // It ended in between, or belongs to another user: the report's `left` tells.
  }
}

async function allGone(home: string, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs
  while (findHomeProcesses(home).length > 0) {
    if (performance.now() > deadlineMs) return false
    await delay(30)
  }
  return true
}

async function untilGone(processes: HomeProcess[], timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  while (processes.some(isAlive) && performance.now() < deadlineMs) await delay(30)
}
