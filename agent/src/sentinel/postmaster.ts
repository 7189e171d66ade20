// Owns what can be known of an instance's postmaster from the outside, without asking it: whether
// it lives, whether it ended in good order, and which processes are still its own.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Byte of pg_control that holds the state of the data directory, in every version since 9.3. */
const CONTROL_STATE_OFFSET = 16
const STATE_SHUTDOWNED = 1
const STATE_SHUTDOWNED_IN_RECOVERY = 2
const STATE_SHUTDOWNING = 3
const STATE_IN_CRASH_RECOVERY = 4
const STATE_IN_PRODUCTION = 6

export interface PostmasterId {
  pid: number
  /** In clock ticks since boot: a pid that was used again has another one. */
  startTicks: string
}

/**
 * Fields of /proc/<pid>/stat after the name, which may hold anything; undefined when there is no
 * process.
 */
function readStat(pid: number): { state: string; startTicks: string } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', startTicks: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

/** The running postmaster of a data directory; a zombie is not running. */
export function findPostmaster(dataDirectory: string): PostmasterId | undefined {
  let pid: number
  try {
    pid = Number(readFileSync(join(dataDirectory, 'postmaster.pid'), 'latin1').split('\n')[0])
  } catch {
    return undefined
  }
  if (!Number.isInteger(pid) || pid <= 1) return undefined
  const stat = readStat(pid)
  // `kill(pid, 0)` succeeds on a zombie: the state decides. The directory proves that it is ours.
  if (stat === undefined || stat.state === 'Z' || stat.state === 'X') return undefined
  if (readDirectoryOf(pid) !== dataDirectory) return undefined
  return { pid, startTicks: stat.startTicks }
}

export function isRunning(postmaster: PostmasterId): boolean {
  const stat = readStat(postmaster.pid)
  if (stat === undefined || stat.startTicks !== postmaster.startTicks) return false
  return stat.state !== 'Z' && stat.state !== 'X'
}

/** Of pg_control; undefined when there is none. */
function readControlState(dataDirectory: string): number | undefined {
  try {
    const control = readFileSync(join(dataDirectory, 'global', 'pg_control'))
    return control.readInt32LE(CONTROL_STATE_OFFSET)
  } catch {
    return undefined
  }
}

/**
 * pg_control says "shut down": everything was flushed, and replicas had the chance to receive it.
 */
export function wasShutDown(dataDirectory: string): boolean {
  const state = readControlState(dataDirectory)
  return state === STATE_SHUTDOWNED || state === STATE_SHUTDOWNED_IN_RECOVERY
}

/** It took writes when it ended, in whatever way, and was not started as a replica since. */
export function wasWritable(dataDirectory: string): boolean {
  const state = readControlState(dataDirectory)
  return (
    state === STATE_SHUTDOWNED ||
    state === STATE_SHUTDOWNING ||
    state === STATE_IN_CRASH_RECOVERY ||
    state === STATE_IN_PRODUCTION
  )
}

/**
 * Shut down but for its archiver: clients and replicas are gone, and only the last segments of WAL
 * are still being brought to the repository, however long that takes.
 */
export function onlyArchives(dataDirectory: string, postmaster: PostmasterId): boolean {
  if (!wasShutDown(dataDirectory)) return false
  return findProcesses(dataDirectory)
    .filter((pid) => pid !== postmaster.pid)
    .map(readTitle)
    .every((title) => !title.startsWith('postgres:') || / archiver( |$)/.test(title))
}

/** What it calls itself; empty when it is gone. */
function readTitle(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

function readDirectoryOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return undefined
  }
}

/**
 * Processes whose working directory is the data directory: the postmaster and all that it started.
 */
export function findProcesses(dataDirectory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => readDirectoryOf(pid) === dataDirectory)
}
