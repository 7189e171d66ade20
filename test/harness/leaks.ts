// Owns the search for secrets where none may be: every spelling in which one could be written, the
// files of a home, and what all processes of the machine show of themselves.
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Secrets by what they are; a finding names the secret and never repeats it. */
export type Secrets = ReadonlyMap<string, string>

export interface Needles {
  /** Names of the secrets that the text holds in some spelling. */
  findIn(text: string): string[]
}

/**
 * Base64 of a text that stands anywhere in a longer one: without what depends on its neighbours.
 */
function base64Inside(secret: string): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), Buffer.from(secret)]).toString('base64')
    return encoded.slice(shift === 0 ? 0 : 4, -4)
  })
}

function spellings(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1)
  const hex = Buffer.from(secret).toString('hex')
  const sql = secret.replaceAll("'", "''")
  const all = [secret, json, JSON.stringify(json).slice(1, -1), sql, encodeURIComponent(secret)]
  return [...new Set([...all, hex, hex.toUpperCase(), ...base64Inside(secret)])]
}

/** A PEM is searched by a line of its own: its frame and line breaks are different everywhere. */
function core(secret: string): string {
  if (!secret.startsWith('-----BEGIN')) return secret
  return secret.split('\n')[1] ?? secret
}

export function needlesFor(secrets: Secrets): Needles {
  const literally = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
  const entries = [...secrets].flatMap(([name, secret]) =>
    spellings(core(secret)).map((text) => [text, name] as const),
  )
  const short = entries.find(([text]) => text.length < 12)
  if (short !== undefined) throw new Error(`BUG: a needle for ${short[1]} is too short to mean it`)
  const names = new Map(entries)
  // One pass over the text, however many needles there are.
  const pattern = new RegExp(entries.map(([text]) => literally(text)).join('|'), 'g')
  return {
    findIn: (text) => [
      ...new Set([...text.matchAll(pattern)].map(([hit]) => names.get(hit) ?? '?')),
    ],
  }
}

export interface HomeFile {
  path: string
  /** Permission bits. */
  mode: number
  /** Its own bits and those of every directory above it let others read it. */
  exposed: boolean
}

const OTHERS = 0o077

/** Regular files below it, without following links. */
export function listFiles(directory: string, above = true): HomeFile[] {
  return ignoreGone(() => readdirSync(directory, { withFileTypes: true })).flatMap((entry) => {
    const path = join(directory, entry.name)
    const [stat] = ignoreGone(() => [lstatSync(path)])
    if (stat === undefined) return []
    const mode = stat.mode & 0o777
    const exposed = above && (mode & OTHERS) !== 0
    if (stat.isDirectory()) return listFiles(path, exposed)
    return stat.isFile() ? [{ path, mode, exposed }] : []
  })
}

/** A file or directory may go away while we look. */
function ignoreGone<T>(look: () => T[]): T[] {
  try {
    return look()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

export function readLatin(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/**
 * Collects every argument list and environment that any process shows, until it is stopped. An
 * environment is read when a process shows new arguments: it is fixed when a program starts.
 */
export function sampleProcesses(intervalMs: number): { stop: () => string[] } {
  const seen = new Set<string>()
  const known = new Map<string, string>()
  const sample = () => {
    for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
      const argv = readLatin(`/proc/${pid}/cmdline`)
      if (known.get(pid) === argv) continue
      known.set(pid, argv)
      seen.add(argv).add(readLatin(`/proc/${pid}/environ`))
    }
  }
  sample()
  const timer = setInterval(sample, intervalMs).unref()
  return {
    stop() {
      clearInterval(timer)
      sample()
      return [...seen]
    },
  }
}
