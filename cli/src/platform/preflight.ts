// Owns everything that is checked before a platform is started: all checks run, so that one attempt
// shows every problem.
import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { HowdahError } from '@howdah/core/errors.ts'
import { type CheckResult, fail, ok, warn } from './check.ts'
import { checkAddresses } from './check-addresses.ts'
import { checkDisk, checkHome } from './check-home.ts'
import { checkPrograms } from './check-programs.ts'
import { findHomeProcesses, type HomeProcess } from './home-processes.ts'
import { choosePostgresql, findPostgresql } from './installed-postgresql.ts'
import type { PlatformLayout } from './layout.ts'
import { platformDbMajor } from './platform-db.ts'
import { findServiceUser, type ServiceUser } from './service-user.ts'

export interface PreflightOptions {
  /** A running platform holds its own addresses and memory: they are not checked then. */
  isRunning: boolean
}

const MEMORY_AVAILABLE_BYTES_MIN = 2 * 1024 ** 3
// Before this program was written: certificates would not be valid yet.
const CLOCK_MS_MIN = Date.UTC(2025, 0, 1)
const CLOCK_MS_MAX = Date.UTC(2100, 0, 1)

export async function runPreflight(
  layout: PlatformLayout,
  options: PreflightOptions,
): Promise<CheckResult[]> {
  const user = tryServiceUser()
  const results = [
    checkLinux(),
    user === undefined ? noServiceUser() : ok('service user', user.name),
    ...(user === undefined ? [] : checkHome(layout.home, user)),
    checkDisk(layout.home),
    checkClock(),
    ...(await checkPrograms()),
    await checkDbVersion(layout),
  ]
  if (options.isRunning) return results
  // What is left of an earlier start holds memory and ports; `up` ends it before it starts
  // anything.
  const left = findHomeProcesses(layout.home)
  if (left.length > 0) return [...results, warnLeftOvers(left)]
  return [...results, checkMemory(), await checkAddresses(layout)]
}

/** Throws `preflight-failed` with every failure and its fix. */
export function refuseFailures(results: CheckResult[]): void {
  const failures = results.filter((result) => result.state === 'fail')
  if (failures.length === 0) return
  const lines = failures.map((result) => `${result.name}: ${result.found}\n    fix: ${result.fix}`)
  throw new HowdahError('preflight-failed', ['', ...lines].join('\n  '))
}

function checkLinux(): CheckResult {
  if (process.platform === 'linux') return ok('system', `Linux ${process.arch}`)
  return fail('system', process.platform, 'use Linux: Debian 12 or 13')
}

function tryServiceUser(): ServiceUser | undefined {
  try {
    return findServiceUser()
  } catch {
    return undefined
  }
}

function noServiceUser(): CheckResult {
  const found = 'there is no user "postgres" for root to run databases as'
  return fail('service user', found, 'sh scripts/setup.sh, or: apt-get install postgresql')
}

function checkMemory(): CheckResult {
  const match = /^MemAvailable:\s+([0-9]+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))
  const availableBytes = Number(match?.[1] ?? 0) * 1024
  const gib = (bytes: number) => (bytes / 1024 ** 3).toFixed(1)
  const found = `${gib(availableBytes)} of ${gib(totalmem())} GiB free`
  if (availableBytes >= MEMORY_AVAILABLE_BYTES_MIN) return ok('memory', found)
  return fail('memory', `${found}, 2 are needed`, 'end some programs, or use a larger machine')
}

function checkClock(): CheckResult {
  const now = new Date()
  const isSane = now.getTime() > CLOCK_MS_MIN && now.getTime() < CLOCK_MS_MAX
  if (isSane) return ok('clock', now.toISOString())
  return fail('clock', now.toISOString(), 'set the clock: certificates are checked against it')
}

async function checkDbVersion(layout: PlatformLayout): Promise<CheckResult> {
  const name = 'platform database'
  const major = await platformDbMajor(layout).catch(() => undefined)
  if (major === undefined) return ok(name, 'none yet')
  try {
    choosePostgresql(findPostgresql(), major)
    return ok(name, `PostgreSQL ${major}`)
  } catch {
    const found = `its data are of PostgreSQL ${major}, which is not installed`
    return fail(name, found, `apt-get install postgresql-${major}`)
  }
}

function warnLeftOvers(left: HomeProcess[]): CheckResult {
  const names = [...new Set(left.map((process) => process.program))].join(', ')
  const found = `${left.length} of an earlier start: ${names}`
  return warn('processes', found, 'howdah up or howdah down ends them')
}
