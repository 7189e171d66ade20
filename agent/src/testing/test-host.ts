// Owns a host for tests: a root in /tmp with a real s6-svscan, and agents started on it as
// processes of their own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { openHostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { until } from './until.ts'

export interface TestHost {
  root: string
  serviceUser: string
  startAgent(env: Record<string, string>): TestAgent
  /** Command lines of all processes that have the root of this host in theirs. */
  processes(): Promise<string[]>
  close(): Promise<void>
}

export interface TestAgent {
  process: ChildProcess
  log: string[]
  /** Resolves with exit code or signal. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | string | null>
}

/** PostgreSQL refuses to run as root. */
export const SERVICE_USER = process.getuid?.() === 0 ? 'postgres' : userInfo().username

export async function startTestHost(): Promise<TestHost> {
  const base = await mkdtemp('/tmp/hwd-')
  await chmod(base, 0o755)
  const root = join(base, 'h')
  const { serviceUser } = await openHostRoot(root, SERVICE_USER)
  const services = join(root, 'services')
  await mkdir(services, { recursive: true })
  const svscan = spawn('s6-svscan', [services], { stdio: 'ignore' })
  const agents: TestAgent[] = []

  async function processes(): Promise<string[]> {
    const found: string[] = []
    for (const entry of await readdir('/proc')) {
      if (!/^[0-9]+$/.test(entry)) continue
      const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')
      const environment = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '')
      const ours = line.includes(root) || environment.includes(`${root}/`)
      if (ours && Number(entry) !== process.pid)
        found.push(`${entry} ${line.replaceAll('\0', ' ')}`)
    }
    return found
  }

  return {
    root,
    serviceUser: serviceUser.name,
    startAgent(env) {
      const agent = startAgent(root, serviceUser.name, env)
      agents.push(agent)
      return agent
    },
    processes,
    async close() {
      for (const agent of agents) await agent.end('SIGKILL')
      await runProgram({ argv: ['s6-svscanctl', '-t', services], timeoutMs: 5000 })
      if (svscan.exitCode === null) await once(svscan, 'exit')
      await until('all processes of the host to end', processes, (left) => left.length === 0)
      await rm(base, { recursive: true, force: true })
    },
  }
}

function startAgent(root: string, user: string, env: Record<string, string>): TestAgent {
  const main = new URL('../main.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOWDAH_HOST_ROOT: root,
      HOWDAH_SERVICE_USER: user,
      HOWDAH_LOG_LEVEL: 'debug',
      // As on a platform: from the second start on nothing is compiled.
      NODE_COMPILE_CACHE: join(dirname(root), 'cache'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => log.push(...text.trim().split('\n')))
  }
  return {
    process: child,
    log,
    async end(signal) {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill(signal)
        await exited
      }
      return child.exitCode ?? child.signalCode
    },
  }
}

export async function writeToken(host: TestHost, token: string): Promise<string> {
  const path = join(host.root, 'agent', 'token')
  await writeFile(path, token, { mode: 0o600 })
  return path
}
