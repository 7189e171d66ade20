// Owns a PostgreSQL of a test's own: a fresh data directory, reachable over one unix socket that
// nobody else can open. The operating system user postgres runs it when the tests run as root.
import { execFile, spawn } from 'node:child_process'
import { chmod, chown, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 20_000
const BINARIES = '/usr/lib/postgresql'

export interface TestPostgres {
  /** Directory of PostgreSQL's programs. */
  binaries: string
  dataDirectory: string
  /**
   * The program with its arguments, run as the user that PostgreSQL runs as. Rejects unless it ends
   * with 0.
   */
  runProgram(name: string, args: readonly string[]): Promise<{ stdout: string; stderr: string }>
  /** A connection string for pg; without a password the superuser `postgres`. */
  url(database: string, login?: { user: string; password: string }): string
  connect(database?: string, login?: { user: string; password: string }): Promise<pg.Client>
  stop(): Promise<void>
}

interface SystemUser {
  uid: number
  gid: number
  /** Before each argv: drops from root to that user; empty when we are nobody special. */
  prefix: readonly string[]
}

async function serviceUser(): Promise<SystemUser> {
  const uid = process.getuid?.() ?? 0
  if (uid !== 0) return { uid, gid: process.getgid?.() ?? uid, prefix: [] }
  const id = async (flag: string) => Number((await run('id', [flag, 'postgres'])).stdout)
  const prefix = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups']
  return { uid: await id('-u'), gid: await id('-g'), prefix }
}

async function newestBinaries(): Promise<string> {
  const versions = (await readdir(BINARIES)).filter((name) => /^[0-9]+$/.test(name))
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0]
  if (newest === undefined) throw new Error(`no PostgreSQL below ${BINARIES}`)
  return join(BINARIES, newest, 'bin')
}

function configuration(directory: string, settings: Readonly<Record<string, string>>): string {
  const all = {
    listen_addresses: '',
    unix_socket_directories: directory,
    fsync: 'off',
    shared_buffers: '16MB',
    max_connections: '50',
    ...settings,
  }
  return Object.entries(all)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('')
}

/** Everybody but the superuser logs in with a password, so that verifiers are put to the test. */
const HBA = 'local all postgres trust\nlocal all all scram-sha-256\n'

async function waitReady(connect: () => Promise<pg.Client>, log: () => string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS
  for (;;) {
    try {
      await (await connect()).end()
      return
    } catch (error) {
      if (performance.now() > deadline) {
        throw new Error(`PostgreSQL does not answer: ${error}; it said: ${log()}`)
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function startProcess(user: SystemUser, binaries: string, dataDirectory: string) {
  const argv = [...user.prefix, join(binaries, 'postgres'), '-D', dataDirectory]
  const child = spawn(argv[0] as string, argv.slice(1), {
    cwd: '/',
    env: { LANG: 'C.UTF-8' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.on('data', (chunk) => {
    log = (log + chunk).slice(-4000)
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  return { child, ended, log: () => log }
}

export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<TestPostgres> {
  const user = await serviceUser()
  const binaries = await newestBinaries()
  const directory = await mkdtemp('/tmp/howdah-test-')
  await chown(directory, user.uid, user.gid)
  await chmod(directory, 0o700)
  const dataDirectory = join(directory, 'pg')
  const runProgram: TestPostgres['runProgram'] = (name, args) => {
    const argv = [...user.prefix, join(binaries, name), ...args]
    return run(argv[0] as string, argv.slice(1), { cwd: '/', env: { LANG: 'C.UTF-8' } })
  }
  const initdb = ['-D', dataDirectory, '-U', 'postgres', '--no-sync', '--encoding=UTF8']
  await runProgram('initdb', [...initdb, '--locale=C.UTF-8', '--auth=trust'])
  await writeFile(join(dataDirectory, 'postgresql.conf'), configuration(directory, settings))
  await writeFile(join(dataDirectory, 'pg_hba.conf'), HBA)
  const { child, ended, log } = startProcess(user, binaries, dataDirectory)

  const url: TestPostgres['url'] = (database, login) => {
    const { user: name, password } = login ?? { user: 'postgres', password: '' }
    const who = `${encodeURIComponent(name)}:${encodeURIComponent(password)}`
    const where = `${encodeURIComponent(database)}?host=${encodeURIComponent(directory)}`
    return `postgresql://${who}@localhost/${where}`
  }
  const connect: TestPostgres['connect'] = async (database = 'postgres', login) => {
    const who = login ?? { user: 'postgres', password: '' }
    const client = new pg.Client({ host: directory, database, ...who })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }
  const stop = async () => {
    child.kill('SIGINT')
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await ended
    clearTimeout(timer)
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await waitReady(connect, log)
  } catch (error) {
    await stop()
    throw error
  }
  return { binaries, dataDirectory, runProgram, url, connect, stop }
}
