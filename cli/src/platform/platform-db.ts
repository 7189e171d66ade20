// Owns the platform database: its data directory, its configuration and its readiness. It listens
// on a unix socket only, and lets in the operating system users that run the platform and nobody
// else.
import { chmod, chown, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readOptional, syncDirectory, writeDurable } from './durable-file.ts'
import type { PlatformLayout } from './layout.ts'
import { runProgram, tryProgram } from './run-program.ts'
import { asServiceUser, type ServiceUser } from './service-user.ts'

export interface PlatformDbContext {
  layout: PlatformLayout
  user: ServiceUser
  /** Directory of PostgreSQL's binaries. */
  binaries: string
}

const INITDB_TIMEOUT_MS = 120_000
const TEMPORARY_PREFIX = 'new-pg-'

/** The major of the data directory; undefined before the first start. */
export async function platformDbMajor(layout: PlatformLayout): Promise<number | undefined> {
  const text = await readOptional(join(layout.dbDirectory, 'PG_VERSION'))
  return text === undefined ? undefined : Number.parseInt(text, 10)
}

/**
 * Makes the data directory if there is none. It is complete before it gets its name: an initdb that
 * died half-way leaves only a temporary directory, which the next start removes.
 */
export async function ensurePlatformDb(context: PlatformDbContext): Promise<void> {
  const { layout, user, binaries } = context
  await removeTemporaries(layout.platform)
  if ((await platformDbMajor(layout)) !== undefined) return writeConfiguration(context)

  const parent = join(layout.platform, `${TEMPORARY_PREFIX}${process.pid}`)
  await mkdir(parent, { mode: 0o700 })
  if (user.dropTo !== undefined) await chown(parent, user.uid, user.gid)
  const directory = join(parent, 'pg')
  const initdb = [join(binaries, 'initdb'), '-D', directory, '-U', 'howdah', '--data-checksums']
  const access = [
    '--no-sync',
    '--auth-local=peer',
    '--auth-host=reject',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
  ]
  await runProgram(asServiceUser(user, [...initdb, ...access]), { timeoutMs: INITDB_TIMEOUT_MS })
  const single = [join(binaries, 'postgres'), '--single', '-D', directory, 'template1']
  await runProgram(asServiceUser(user, single), {
    timeoutMs: INITDB_TIMEOUT_MS,
    input: 'CREATE DATABASE howdah;\n',
  })
  // The one sync for all of the above: nothing counts before the rename.
  const sync = [join(binaries, 'initdb'), '--sync-only', '-D', directory]
  await runProgram(asServiceUser(user, sync), { timeoutMs: INITDB_TIMEOUT_MS })
  await rename(directory, layout.dbDirectory)
  await syncDirectory(layout.platform)
  await rm(parent, { recursive: true })
  await writeConfiguration(context)
}

export function platformDbArgv(context: PlatformDbContext): string[] {
  return [join(context.binaries, 'postgres'), '-D', context.layout.dbDirectory]
}

export async function isPlatformDbReady(context: PlatformDbContext): Promise<boolean> {
  const argv = [join(context.binaries, 'pg_isready'), '-q', '-t', '1']
  const where = ['-h', context.layout.runDirectory, '-p', '5432', '-d', 'howdah']
  return (await tryProgram([...argv, ...where], { timeoutMs: 3_000 })).exitCode === 0
}

async function removeTemporaries(platform: string): Promise<void> {
  const names = await readdir(platform)
  for (const name of names.filter((candidate) => candidate.startsWith(TEMPORARY_PREFIX))) {
    await rm(join(platform, name), { recursive: true })
  }
}

// Written at every start, so that a damaged or older file heals; the service reads it as it starts.
async function writeConfiguration(context: PlatformDbContext): Promise<void> {
  const { layout, user } = context
  const files: [string, string][] = [
    ['postgresql.conf', renderConfiguration(layout)],
    ['pg_hba.conf', 'local all howdah peer map=howdah\n'],
    ['pg_ident.conf', renderIdentMap(user)],
  ]
  for (const [name, content] of files) {
    const path = join(layout.dbDirectory, name)
    await writeDurable(path, content, 0o600)
    if (user.dropTo !== undefined) await chown(path, user.uid, user.gid)
  }
  // A backup tool or a careless copy may have widened it; PostgreSQL would refuse to start.
  await chmod(layout.dbDirectory, 0o700)
}

function renderConfiguration(layout: PlatformLayout): string {
  return [
    '# Written by howdah at every start: changes are lost.',
    "listen_addresses = ''",
    'port = 5432',
    `unix_socket_directories = '${layout.runDirectory.replaceAll("'", "''")}'`,
    'unix_socket_permissions = 0777',
    'max_connections = 100',
    'shared_buffers = 32MB',
    'max_wal_size = 256MB',
    'wal_level = minimal',
    'max_wal_senders = 0',
    'synchronous_commit = on',
    'password_encryption = scram-sha-256',
    "timezone = 'UTC'",
    "log_timezone = 'UTC'",
    "log_line_prefix = '[%p] '",
    'log_min_error_statement = panic',
    'log_parameter_max_length_on_error = 0',
    'log_statement = none',
    'jit = off',
    '',
  ].join('\n')
}

function renderIdentMap(user: ServiceUser): string {
  const names = [...new Set([user.caller, user.name])]
  return names.map((name) => `howdah "${name}" howdah\n`).join('')
}
