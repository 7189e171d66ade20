// Owns what the agent tells of its host: what is installed is looked up once per start, what moves
// (free disk) each time.
import { readdir, readFile, statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { PROGRAMS, type Program } from '@howdah/core/host-spec.ts'
import type { HostFacts } from '@howdah/core/protocol.ts'
import packageJson from '../../package.json' with { type: 'json' }
import type { HostRoot } from '../host-root.ts'
import { findProgram } from '../programs.ts'
import { runProgram } from '../run-program.ts'
import { canCutNetwork } from '../tasks/network-cut.ts'

const VERSION_TIMEOUT_MS = 20_000
const POSTGRESQL_DIRECTORY = '/usr/lib/postgresql'

const VERSION_ARGUMENTS: Readonly<Record<Program, string>> = {
  etcd: '--version',
  patroni: '--version',
  haproxy: '-v',
  pgbouncer: '--version',
  pgbackrest: 'version',
}

export type FactsReader = () => Promise<HostFacts>

/** `memoryBytes` undefined: all of the machine. */
export async function makeFactsReader(
  root: HostRoot,
  memoryBytes: number | undefined,
): Promise<FactsReader> {
  const fixed = {
    agentVersion: packageJson.version,
    os: await readOsName(),
    cpuCount: availableParallelism(),
    memoryBytes: memoryBytes ?? totalmem(),
    root: root.path,
    serviceUser: root.serviceUser.name,
    agentUser: root.agentUser.name,
    programs: await findVersions(),
    postgresql: await findPostgresql(),
    cutsNetwork: await canCutNetwork(),
    beginsSwitchovers: true,
  }
  return async () => {
    const disk = await statfs(root.path)
    const diskBytes = disk.blocks * disk.bsize
    return { ...fixed, diskBytes, diskFreeBytes: disk.bavail * disk.bsize }
  }
}

async function readOsName(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? process.platform
}

async function findVersions(): Promise<HostFacts['programs']> {
  const found = await Promise.all(
    PROGRAMS.map(async (program) => [program, await findVersion(program)] as const),
  )
  return Object.fromEntries(found.filter(([, version]) => version !== undefined)) as Record<
    Program,
    string
  >
}

// A program that is there but cannot say its version is broken: better absent than a guess.
async function findVersion(program: Program): Promise<string | undefined> {
  const path = await findProgram(program)
  if (path === undefined) return undefined
  const argv = [path, VERSION_ARGUMENTS[program]] as const
  const said = await runProgram({ argv: [...argv], timeoutMs: VERSION_TIMEOUT_MS }).catch(() => '')
  return /\b(\d+\.\d+(?:\.\d+)?)/.exec(said)?.[1]
}

/** Debian's layout: one directory per major version. */
async function findPostgresql(): Promise<HostFacts['postgresql']> {
  const majors: string[] = await readdir(POSTGRESQL_DIRECTORY).catch(() => [])
  const found: Record<string, string> = {}
  for (const major of majors.filter((name) => /^[0-9]{1,2}$/.test(name))) {
    const binaries = join(POSTGRESQL_DIRECTORY, major, 'bin')
    const names: string[] = await readdir(binaries).catch(() => [])
    if (names.includes('postgres') && names.includes('initdb')) found[major] = binaries
  }
  return found
}
