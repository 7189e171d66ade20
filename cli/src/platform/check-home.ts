// Owns the check that the home can hold a platform: short enough a path, writable, on a file system
// that fits, and reachable for the user that databases run as.
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { type CheckResult, fail, ok, warn } from './check.ts'
import type { ServiceUser } from './service-user.ts'

const PATH_LENGTH_MAX = 60
const DISK_FREE_BYTES_MIN = 5 * 1024 ** 3
const DISK_FREE_BYTES_WARN = 10 * 1024 ** 3

export function checkHome(home: string, user: ServiceUser): CheckResult[] {
  return [checkPath(home), checkOwner(home), checkReach(home, user), checkFileSystem(home)]
}

export function checkDisk(home: string): CheckResult {
  const { bavail, bsize } = statfsSync(nearestExisting(home))
  const freeBytes = bavail * bsize
  const found = `${formatGib(freeBytes)} GiB free for ${home}`
  const fix = 'free some space, or choose another place: HOWDAH_HOME=/path'
  if (freeBytes < DISK_FREE_BYTES_MIN) return fail('disk', `${found}, 5 are needed`, fix)
  return freeBytes < DISK_FREE_BYTES_WARN ? warn('disk', found, fix) : ok('disk', found)
}

function checkPath(home: string): CheckResult {
  const name = 'home path'
  const fix = 'choose another place: HOWDAH_HOME=/path'
  // A unix socket's path has at most 107 bytes, and the sockets are some way below the home.
  if (home.length > PATH_LENGTH_MAX) {
    return fail(name, `${home} has ${home.length} characters, at most ${PATH_LENGTH_MAX} work`, fix)
  }
  if (!/^\/[A-Za-z0-9_./-]+$/.test(home)) {
    return fail(name, `${home}: only letters, digits, "_", ".", "-" and "/" work`, fix)
  }
  return ok(name, home)
}

function checkOwner(home: string): CheckResult {
  const name = 'home owner'
  const fix = `run as its owner, or choose another place: HOWDAH_HOME=/path`
  const existing = nearestExisting(home)
  if (existing === home) {
    const { uid } = statSync(home)
    if (uid !== process.geteuid?.()) {
      return fail(name, `${home} belongs to another user (uid ${uid})`, fix)
    }
  }
  try {
    accessSync(existing, constants.W_OK | constants.X_OK)
    return ok(name, 'writable')
  } catch (error) {
    return fail(
      name,
      `${existing} cannot be written (${(error as NodeJS.ErrnoException).code})`,
      fix,
    )
  }
}

// Every directory above must let the service user pass: /root, with mode 0700, does not.
function checkReach(home: string, user: ServiceUser): CheckResult {
  const name = 'home access'
  if (user.dropTo === undefined) return ok(name, `databases run as ${user.name}`)
  for (let path = nearestExisting(home); ; path = dirname(path)) {
    const status = statSync(path)
    const bit = status.uid === user.uid ? 0o100 : status.gid === user.gid ? 0o010 : 0o001
    if ((status.mode & bit) === 0) {
      const fix = 'choose another place: HOWDAH_HOME=/var/lib/howdah'
      return fail(name, `the user ${user.name}, who runs databases, cannot pass ${path}`, fix)
    }
    if (path === dirname(path)) return ok(name, `databases run as ${user.name}`)
  }
}

function checkFileSystem(home: string): CheckResult {
  const name = 'file system'
  const mount = findMount(nearestExisting(home))
  if (mount === undefined) return ok(name, 'unknown')
  const fix = 'choose another place: HOWDAH_HOME=/path'
  const bad = ['ro', 'noexec'].filter((option) => mount.options.includes(option))
  if (bad.length > 0) return fail(name, `${mount.path} is mounted ${bad.join(' and ')}`, fix)
  if (/^(nfs|cifs|smb|9p|vboxsf|fuse)/.test(mount.type)) {
    return warn(name, `${mount.path} is ${mount.type}: databases want a local disk`, fix)
  }
  return ok(name, `${mount.type} on ${mount.path}`)
}

function findMount(path: string): { path: string; type: string; options: string[] } | undefined {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length >= 4)
    .map(([, at = '', type = '', options = '']) => ({
      path: at.replaceAll('\\040', ' '),
      type,
      options: options.split(','),
    }))
    .filter(
      (mount) => mount.path === '/' || path === mount.path || path.startsWith(`${mount.path}/`),
    )
  // The longest path wins, and of several mounts over one another the last.
  return mounts.reduce<(typeof mounts)[number] | undefined>(
    (best, mount) => (best === undefined || mount.path.length >= best.path.length ? mount : best),
    undefined,
  )
}

export function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path))
}

function formatGib(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(1)
}
