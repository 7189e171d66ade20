// Owns a whole platform for a test: the real `howdah up` in a home of its own, and everything a
// test asks of it. When something is not reached, the error says where the logs are and how they
// end.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach } from 'node:test'
import type { ClusterAccepted, ClusterCreate } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type pg from 'pg'
import { type ApiReply, type Connection, requestApi } from './api.ts'
import { type SqlTarget, sql, type TestCluster } from './cluster.ts'
import { findHomeProcesses } from './home-processes.ts'
import { until } from './until.ts'

export interface PlatformOptions {
  /** First three parts of the loopback addresses; each test file has its own. */
  subnet: string
  /** 4 unless given. */
  hosts?: number
  environment?: Record<string, string>
}

export interface CommandResult {
  code: number | null
  stdout: string
  stderr: string
}

export interface CommandOptions {
  environment?: Record<string, string>
  input?: string
  /** 60 s unless given; then the command is killed and the call fails. */
  timeoutMs?: number
}

export interface TestPlatform extends AsyncDisposable {
  home: string
  subnet: string
  /** What `howdah` needs to find this platform. */
  environment: Readonly<Record<string, string>>
  token: string
  connection: Connection
  /**
   * Names the fault point at which the control plane shall die next; see
   * control-plane/src/faults.ts.
   */
  faultFile: string
  /** Never throws for a status; see requestApi. */
  api<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<ApiReply<T>>
  howdah(args: readonly string[], options?: CommandOptions): Promise<CommandResult>
  /**
   * The operation once it has ended, well or badly; a control plane that restarts is waited for.
   */
  waitOperation(id: string, timeoutMs: number): Promise<Operation>
  /** Waits until it is available; fails when the creation fails. */
  createCluster(name: string, spec?: Partial<ClusterCreate>): Promise<TestCluster>
  sql<Row extends pg.QueryResultRow = Record<string, unknown>>(
    target: SqlTarget,
    query: string,
    params?: unknown[],
  ): Promise<Row[]>
  /** Where the logs are, and the ends of the control plane's and the agents'. */
  explain(): Promise<string>
  /** `howdah down`; fails when a process is left; removes the home. */
  stop(): Promise<void>
}

const PROGRAM = join(import.meta.dirname, '../../howdah')
const UP_TIMEOUT_MS = 180_000
const DOWN_TIMEOUT_MS = 180_000
const CREATE_TIMEOUT_MS = 240_000
const LOG_LINES = 25
/** Compiled code of a platform before: to compile it anew is most of what a start costs. */
const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/howdah-test')
/** Of each Patroni, etcd, HAProxy and PgBouncer. */
const SERVICE_LOG_LINES = 6

export async function startPlatform(options: PlatformOptions): Promise<TestPlatform> {
  const home = await mkdtemp(join(tmpdir(), 'howdah-test-'))
  await chmod(home, 0o755)
  await takeCompiled(home)
  const faultFile = join(home, 'fault')
  const environment = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    HOWDAH_HOME: home,
    HOWDAH_SUBNET: options.subnet,
    HOWDAH_FAULT_FILE: faultFile,
    // Made whenever nothing happens, which in a suite is work for nobody.
    HOWDAH_SPARES: 'off',
    ...options.environment,
  }
  const hosts = options.hosts === undefined ? [] : ['--hosts', String(options.hosts)]
  const up = await runHowdah(environment, ['up', '--detach', '--no-demo', ...hosts], {
    timeoutMs: UP_TIMEOUT_MS,
  }).catch((error: unknown) => ({ code: -1, stdout: '', stderr: String(error) }))
  if (up.code !== 0) {
    const why = `howdah up: exit code ${up.code}\n${up.stderr}\n${await explain(home)}`
    await down(home, environment).catch((error: unknown) => console.error(String(error)))
    throw new Error(why)
  }
  const connection = JSON.parse(await readFile(join(home, 'cli.json'), 'utf8')) as Connection
  const parts = { home, subnet: options.subnet, environment, faultFile, connection }
  return makePlatform(parts, () => down(home, environment))
}

/**
 * What a test asks of a platform that runs already, however it was started; `end` stops it for
 * good.
 */
export function makePlatform(
  parts: Pick<TestPlatform, 'home' | 'subnet' | 'environment' | 'faultFile' | 'connection'>,
  end: () => Promise<void>,
): TestPlatform {
  const { home, environment, connection } = parts
  const api: TestPlatform['api'] = (...request) => requestApi(connection, ...request)
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= end()
    return stopped
  }
  const withLogs = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${await explain(home)}`, { cause: error })
    }
  }
  return {
    ...parts,
    token: connection.token,
    api,
    howdah: (args, options) => runHowdah(environment, args, options),
    waitOperation: (id, timeoutMs) => withLogs(waitOperation(api, id, timeoutMs)),
    createCluster: (name, spec) => withLogs(createCluster(api, name, spec ?? {})),
    sql,
    explain: () => explain(home),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

const UNENDED: readonly string[] = ['scheduled', 'pending', 'running']

async function waitOperation(
  api: TestPlatform['api'],
  id: string,
  timeoutMs: number,
): Promise<Operation> {
  return until(`operation ${id} to end`, timeoutMs, async () => {
    const { status, body } = await api<Operation>('GET', `/v1/operations/${id}`)
    if (status !== 200) return { seen: `${status} ${JSON.stringify(body)}` }
    if (!UNENDED.includes(body.state)) return { value: body }
    const step = body.steps.find(({ state }) => state === 'running')
    return { seen: `${body.state}, ${step?.name ?? 'between steps'}: ${step?.message ?? ''}` }
  })
}

async function createCluster(
  api: TestPlatform['api'],
  name: string,
  spec: Partial<ClusterCreate>,
): Promise<TestCluster> {
  const accepted = await api<ClusterAccepted>('POST', '/v1/clusters', { ...spec, name })
  if (accepted.status !== 202) {
    throw new Error(`create ${name}: ${accepted.status} ${JSON.stringify(accepted.body)}`)
  }
  const operation = await waitOperation(api, accepted.body.operation.id, CREATE_TIMEOUT_MS)
  if (operation.state !== 'succeeded') {
    throw new Error(`create ${name}: ${operation.state}: ${JSON.stringify(operation.error)}`)
  }
  return readCluster(api, accepted.body, operation)
}

/** What was accepted, as it is now: endpoints are known only once it is placed. */
export async function readCluster(
  api: TestPlatform['api'],
  accepted: ClusterAccepted,
  operation: Operation,
): Promise<TestCluster> {
  const path = `/v1/clusters/${accepted.cluster.id}`
  const { body: cluster } = await api<ClusterAccepted['cluster']>('GET', path)
  const { body: ca } = await api<{ pem: string }>('GET', `${path}/ca`)
  const { credentials } = accepted
  if (credentials === undefined) throw new Error(`${cluster.name}: no credentials in the reply`)
  return { cluster, operation, credentials, caPem: ca.pem }
}

async function runHowdah(
  environment: Readonly<Record<string, string>>,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? 60_000
  const child = spawn(PROGRAM, args, {
    env: { ...environment, ...options.environment },
    stdio: 'pipe',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  // The command may end without reading its input.
  child.stdin.on('error', () => {}).end(options.input ?? '')
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  const [stdout, stderr, { code, signal }] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    ended,
  ])
  if (signal === 'SIGKILL') {
    throw new Error(`howdah ${args.join(' ')} did not end in ${timeoutMs} ms\n${stdout}\n${stderr}`)
  }
  return { code, stdout, stderr }
}

async function down(home: string, environment: Readonly<Record<string, string>>): Promise<void> {
  const result = await runHowdah(environment, ['down'], { timeoutMs: DOWN_TIMEOUT_MS })
  const left = findHomeProcesses(home)
  if (result.code !== 0 || left.length > 0) {
    const said = left.map(({ pid, argv }) => `${pid} ${argv.join(' ')}`).join('\n')
    throw new Error(`howdah down: exit code ${result.code}\n${result.stderr}\nleft:\n${said}`)
  }
  await keepCompiled(home)
  await rm(home, { recursive: true, force: true })
}

const compiledIn = (home: string) => join(home, 'platform/cache')

async function takeCompiled(home: string): Promise<void> {
  if (!existsSync(COMPILED)) return
  await mkdir(join(home, 'platform'), { mode: 0o755 })
  await cp(COMPILED, compiledIn(home), { recursive: true })
  await chmod(compiledIn(home), 0o700)
}

async function keepCompiled(home: string): Promise<void> {
  if (existsSync(COMPILED) || !existsSync(compiledIn(home))) return
  await mkdir(dirname(COMPILED), { recursive: true })
  const copy = `${COMPILED}-${process.pid}`
  await cp(compiledIn(home), copy, { recursive: true })
  // Of two that end at once the second finds the place taken.
  await rename(copy, COMPILED).catch(() => rm(copy, { recursive: true, force: true }))
}

/** What a file's tests should call once: after a test that failed, the logs are shown. */
export function explainFailures(platform: () => TestPlatform | undefined): void {
  afterEach(async (context) => {
    if ('passed' in context && context.passed) return
    console.log(await platform()?.explain())
  })
}

async function explain(home: string): Promise<string> {
  const log = join(home, 'platform/log')
  const agents = (await readdir(join(home, 'hosts')).catch(() => [])).sort()
  const services = await Promise.all(
    agents.map(async (host) => {
      const directory = join(home, 'hosts', host, 'log')
      const names = await readdir(directory).catch(() => [])
      return names.sort().map((name) => join(directory, name, 'current'))
    }),
  )
  const tails = await Promise.all([
    tailOf(join(log, 'control-plane/current'), /./),
    ...agents.map((host) => tailOf(join(home, 'hosts', host, 'agent/log/current'), NOT_ROUTINE)),
    ...services.flat().map((path) => tailOf(path, /./, SERVICE_LOG_LINES)),
  ])
  return `logs are in ${log} and ${home}/hosts/*/log; they end with:\n${tails.join('\n')}`
}

/** What an agent says whenever it takes a spec or ends a task tells nothing about a failure. */
const NOT_ROUTINE = /^(?!.*(spec applied|service changed|task ended))/

async function tailOf(path: string, wanted: RegExp, linesMax = LOG_LINES): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: Error) => error.message)
  const lines = text
    .trimEnd()
    .split('\n')
    .filter((line) => wanted.test(line))
  return [`-- ${path}`, ...lines.slice(-linesMax).map((line) => line.slice(0, 500))].join('\n')
}
