// Owns the programs that a bench starts itself: as an unprivileged user, with a clean environment
// and a log file, and ended by the id under which they were started.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { promisify } from 'node:util'

export interface BenchUser {
  name: string
  uid: number
  gid: number
}

export interface BackgroundProcess {
  pid: number
  /** Resolves when it is gone; SIGKILL after `timeoutMs`. */
  stop(signal: NodeJS.Signals, timeoutMs?: number): Promise<void>
}

interface StartOptions {
  user: BenchUser
  /** Its working directory, and HOME. */
  directory: string
  logFile: string
}

const run = promisify(execFile)
const STOP_TIMEOUT_MS = 20_000
const COMMAND_TIMEOUT_MS = 120_000

/** `postgres` when we are root, as PostgreSQL refuses to run as root; who we are otherwise. */
export async function findBenchUser(): Promise<BenchUser> {
  const name = process.getuid?.() === 0 ? ['postgres'] : []
  const ask = async (flag: string) => (await run('id', [flag, ...name])).stdout.trim()
  return { name: await ask('-un'), uid: Number(await ask('-u')), gid: Number(await ask('-g')) }
}

export function cleanEnvironment(home: string): Record<string, string> {
  return { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', HOME: home, LANG: 'C.UTF-8' }
}

export function startProcess(
  program: string,
  args: readonly string[],
  options: StartOptions,
): BackgroundProcess {
  const log = openSync(options.logFile, 'a')
  const child = spawn(program, args, {
    cwd: options.directory,
    env: { ...cleanEnvironment(options.directory), PYTHONUNBUFFERED: '1' },
    stdio: ['ignore', log, log],
    uid: options.user.uid,
    gid: options.user.gid,
  })
  closeSync(log)
  child.on('error', (error) => console.error(`${program}: ${error.message}`))
  const { pid } = child
  if (pid === undefined) throw new Error(`${program} did not start`)
  return { pid, stop: (signal, timeoutMs) => stopChild(child, signal, timeoutMs) }
}

async function stopChild(
  child: ChildProcess,
  signal: NodeJS.Signals,
  timeoutMs = STOP_TIMEOUT_MS,
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  await ended
  clearTimeout(timer)
}

/** Runs a program to its end as the user; throws with its stderr. */
export async function runAs(
  user: BenchUser,
  directory: string,
  program: string,
  args: readonly string[],
): Promise<string> {
  const { stdout } = await run(program, args, {
    cwd: directory,
    env: cleanEnvironment(directory),
    uid: user.uid,
    gid: user.gid,
    timeout: COMMAND_TIMEOUT_MS,
    maxBuffer: 16 * 1024 * 1024,
  })
  return stdout
}
