// Owns the platform's use of s6: service directories, the scan process, and what s6 says of a
// service. It knows nothing of what the services are.
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { writeDurable } from './durable-file.ts'
import { CLEAN_ENV, runProgram, tryProgram } from './run-program.ts'

export interface ServiceFiles {
  run: string
  log: string
  /** What s6-supervise sends to end the service. */
  downSignal: 'SIGTERM' | 'SIGINT'
  /** After this long in its orderly end the service gets SIGKILL. */
  killTimeoutMs: number
}

export interface ServiceState {
  up: boolean
  pid: number | undefined
  /** How long it has been up or down. */
  sinceS: number
}

/** Returns whether the run script changed, so that a running service must be restarted. */
export async function writeService(directory: string, files: ServiceFiles): Promise<boolean> {
  await mkdir(join(directory, 'log'), { recursive: true, mode: 0o755 })
  await writeDurable(join(directory, 'down-signal'), `${files.downSignal}\n`, 0o644)
  await writeDurable(join(directory, 'timeout-kill'), `${files.killTimeoutMs}\n`, 0o644)
  await writeDurable(join(directory, 'log', 'run'), files.log, 0o755)
  // Last: s6-supervise takes a directory without a run file for one that is not there yet.
  return writeDurable(join(directory, 'run'), files.run, 0o755)
}

/** Names of the services in a scan directory; none if there is no such directory. */
export async function listServices(scanDirectory: string): Promise<string[]> {
  try {
    const entries = await readdir(scanDirectory, { withFileTypes: true })
    return entries
      .filter(
        (entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()),
      )
      .map((entry) => entry.name)
      .sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Whether a process holds the reading end of a control pipe; changes nothing. */
async function hasReader(fifo: string): Promise<boolean> {
  try {
    const file = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
    await file.close()
    return true
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENXIO' || code === 'ENOENT') return false
    throw error
  }
}

export function isScanning(scanDirectory: string): Promise<boolean> {
  return hasReader(join(scanDirectory, '.s6-svscan', 'control'))
}

export function isSupervised(serviceDirectory: string): Promise<boolean> {
  return hasReader(join(serviceDirectory, 'supervise', 'control'))
}

/**
 * Starts s6-svscan in a session of its own, so that no terminal and no Ctrl-C reaches it, and waits
 * until it takes commands. Supervisors that outlived an earlier one keep their services: the new
 * scan takes each over when it ends.
 */
export async function startScan(scanDirectory: string, logFile: string): Promise<void> {
  const log = await open(logFile, 'a', 0o600)
  try {
    const child = spawn('s6-svscan', [scanDirectory], {
      cwd: scanDirectory,
      env: CLEAN_ENV,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    })
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code) => resolve(`it ended with exit code ${code}`))
    })
    const deadlineMs = performance.now() + 10_000
    while (!(await isScanning(scanDirectory))) {
      const why = await Promise.race([ended, delay(20, undefined)])
      if (why !== undefined) throw new Error(`start s6-svscan ${scanDirectory}: ${why}`)
      if (performance.now() > deadlineMs) throw new Error(`s6-svscan ${scanDirectory} is not ready`)
    }
    child.unref()
  } finally {
    await log.close()
  }
}

/** Makes a running scan process look for new services. */
export async function rescan(scanDirectory: string): Promise<void> {
  await runProgram(['s6-svscanctl', '-a', scanDirectory], { timeoutMs: 5_000 })
}

/** Asks the scan process to end everything below it and itself; does not wait. */
export async function terminateScan(scanDirectory: string): Promise<void> {
  if (!(await isScanning(scanDirectory))) return
  await runProgram(['s6-svscanctl', '-t', scanDirectory], { timeoutMs: 5_000 })
}

/** Undefined when nothing supervises the service. */
export async function serviceState(serviceDirectory: string): Promise<ServiceState | undefined> {
  if (!(await isSupervised(serviceDirectory))) return undefined
  const argv = ['s6-svstat', '-o', 'up,pid,updownfor', serviceDirectory]
  const result = await tryProgram(argv, { timeoutMs: 5_000 })
  if (result.exitCode !== 0) return undefined
  const [up, pid, seconds] = result.output.trim().split(' ')
  return {
    up: up === 'true',
    pid: Number(pid) > 0 ? Number(pid) : undefined,
    sinceS: Number(seconds),
  }
}

/** Makes sure a supervised service runs; `restart` ends the process that runs now. */
export async function startService(serviceDirectory: string, restart: boolean): Promise<void> {
  const flags = restart ? '-ru' : '-u'
  await tryProgram(['s6-svc', flags, serviceDirectory], { timeoutMs: 5_000 })
}

/**
 * Ends a service and waits until it is down: `true` then, and when nothing supervised it. The scan
 * directory keeps no mark of it: the next scan process starts the service again.
 */
export async function stopService(serviceDirectory: string, timeoutMs: number): Promise<boolean> {
  if (!(await isSupervised(serviceDirectory))) return true
  const argv = ['s6-svc', '-wD', '-T', String(timeoutMs), '-d', serviceDirectory]
  return (await tryProgram(argv, { timeoutMs: timeoutMs + 5_000 })).exitCode === 0
}
