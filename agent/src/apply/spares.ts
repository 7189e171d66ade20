// Owns the host's spare: an empty data directory, made while nothing else happens, that the next
// new cluster takes instead of waiting for its own initdb (Patroni's patch take_spare). A spare
// serves one cluster: its system identifier is in it. It is a convenience, and nothing waits for
// it: where it is missing, Patroni runs initdb. Killed anywhere, what is half made is swept.
import { lstat, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { INITDB_OPTIONS, SPARES, spareDirectory } from '@howdah/core/spare-directory.ts'
import type { Logger } from 'pino'
import { makeBackoff } from '../backoff.ts'
import { below, type HostRoot, makeServiceDirectories } from '../host-root.ts'
import type { FactsReader } from '../observe/host-facts.ts'
import { runProgram } from '../run-program.ts'
import { pause } from '../wake.ts'

/** Whoever changes a host changes it again soon; hosts of one machine do not start all at once. */
const QUIET_MS = 5000
const JITTER_MS = 5000
const LOOK_MS = 5000
/** What failed once costs processors and disk each time that it is tried. */
const RETRY_MS_MAX = 600_000
/** A platform that starts creates its first cluster meanwhile. */
const START_REST_MS = 30_000
const INITDB_TIMEOUT_MS = 300_000
const CHANGE_TIMEOUT_MS = 60_000
/** Some forty megabytes are made; a disk that is nearly full is left alone. */
const FREE_BYTES_MIN = 1_073_741_824
const MAKING = 'making-'
const DROPPED = 'dropped-'

export interface SpareNeeds {
  root: HostRoot
  readFacts: FactsReader
  /** For how long nothing was changed on this host; 0 while something is. Milliseconds. */
  quietMs: () => number
  /** Before the first one; START_REST_MS unless given. */
  restMs?: number
  log: Logger
  signal: AbortSignal
}

/** Keeps a spare of the newest PostgreSQL of the host: the version that a new cluster gets. */
export async function keepSpares(needs: SpareNeeds): Promise<void> {
  const { log, quietMs, signal } = needs
  const backoff = makeBackoff({ minMs: LOOK_MS, maxMs: RETRY_MS_MAX })
  let failing = ''
  await pause(needs.restMs ?? START_REST_MS, signal)
  while (!signal.aborted) {
    const missingMs = QUIET_MS - quietMs()
    await pause(missingMs > 0 ? missingMs + Math.random() * JITTER_MS : LOOK_MS, signal)
    if (signal.aborted || quietMs() < QUIET_MS) continue
    try {
      await makeSpare(needs)
      failing = ''
      backoff.reset()
    } catch (error) {
      if (signal.aborted) return
      const said = describeError(error)
      if (said !== failing) log.warn({ error: said }, 'no spare data directory')
      failing = said
      await pause(backoff.nextMs(), signal)
    }
  }
}

/** Does nothing where a usable one is there. Safe to repeat after a crash at any line. */
export async function makeSpare(needs: Omit<SpareNeeds, 'quietMs' | 'restMs'>): Promise<void> {
  const { root, readFacts, log, signal } = needs
  const { postgresql, diskFreeBytes } = await readFacts()
  const version = Object.keys(postgresql).sort((a, b) => Number(b) - Number(a))[0]
  if (version === undefined) return
  const program = join(postgresql[version] as string, 'initdb')
  const spare = below(root, spareDirectory(version))
  if (await isUsable(spare, program)) return
  await makeServiceDirectories(root, [SPARES])
  const spares = below(root, SPARES)
  const run = (timeoutMs: number, ...argv: [string, ...string[]]) =>
    runProgram({ argv, timeoutMs, user: root.dropTo, signal, directory: spares })
  // Renamed before it is removed: whoever takes it meanwhile has all of it or nothing.
  const outdated = await lstat(spare).catch(() => undefined)
  const dropped = join(spares, `${DROPPED}${process.pid}`)
  if (outdated !== undefined)
    await run(CHANGE_TIMEOUT_MS, '/usr/bin/mv', '-T', '--', spare, dropped)
  const left = (await readdir(spares)).filter((name) => join(spares, name) !== spare)
  const paths = left.map((name) => join(spares, name))
  if (paths.length > 0) await run(CHANGE_TIMEOUT_MS, '/usr/bin/rm', '-rf', '--', ...paths)

  if (diskFreeBytes < FREE_BYTES_MIN) return
  const startedMs = performance.now()
  const making = join(spares, `${MAKING}${process.pid}-${Date.now()}`)
  const options = [['pgdata', making], ['username', PLATFORM_ROLES.superuser], ...INITDB_OPTIONS]
  const words = options.map(([name, value]) => (value ? `--${name}=${value}` : `--${name}`))
  await run(INITDB_TIMEOUT_MS, '/usr/bin/nice', '-n', '19', program, ...words)
  await run(CHANGE_TIMEOUT_MS, '/usr/bin/mv', '-T', '--', making, spare)
  log.info(
    { version, tookMs: Math.round(performance.now() - startedMs) },
    'spare data directory made',
  )
}

/** Not after an upgrade of PostgreSQL: a new cluster begins with what is installed now. */
async function isUsable(spare: string, initdb: string): Promise<boolean> {
  const made = await lstat(join(spare, 'PG_VERSION')).catch(() => undefined)
  // A package's files have the time when they were built; their inodes, that of the installation.
  return made !== undefined && made.mtimeMs > (await stat(initdb)).ctimeMs
}
