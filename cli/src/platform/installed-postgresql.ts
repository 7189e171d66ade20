// Owns finding the machine's PostgreSQL binaries: Debian keeps each major in a directory of its
// own.

import { accessSync, constants, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { HowdahError } from '@howdah/core/errors.ts'

const ROOT = '/usr/lib/postgresql'

/** Directory of binaries per installed major, newest first. */
export function findPostgresql(root: string = ROOT): Map<number, string> {
  const majors = listDirectory(root)
    .filter((name) => /^[0-9]{1,2}$/.test(name))
    .map(Number)
    .filter((major) => isComplete(join(root, String(major), 'bin')))
    .sort((left, right) => right - left)
  return new Map(majors.map((major) => [major, join(root, String(major), 'bin')]))
}

/** The binaries for a data directory of this major, or the newest for a new one. */
export function choosePostgresql(found: Map<number, string>, major: number | undefined): string {
  const chosen = major === undefined ? [...found.values()][0] : found.get(major)
  if (chosen !== undefined) return chosen
  const wanted = major === undefined ? 'PostgreSQL' : `PostgreSQL ${major}`
  throw new HowdahError('preflight-failed', `${wanted} is not installed: run scripts/setup.sh`)
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

// A client-only package leaves a bin directory without a server in it.
function isComplete(directory: string): boolean {
  try {
    for (const program of ['postgres', 'initdb', 'pg_isready']) {
      accessSync(join(directory, program), constants.X_OK)
    }
    return true
  } catch {
    return false
  }
}
