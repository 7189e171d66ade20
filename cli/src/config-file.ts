// Owns where the CLI finds its settings: the environment (read here and nowhere else) and cli.json
// in the home directory. The environment wins, so that one machine can talk to several platforms.
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { HowdahError } from '@howdah/core/errors.ts'

export interface Environment {
  home: string | undefined
  api: string | undefined
  token: string | undefined
  caFile: string | undefined
  /** https://no-color.org: set and not empty. */
  noColor: boolean
  /** A terminal that cannot move its cursor. */
  dumbTerminal: boolean
  /** Stack traces with errors, for reports. */
  debug: boolean
  /** What child processes such as psql inherit. */
  inherited: NodeJS.ProcessEnv
}

export interface Connection {
  /** Origin of the API, https only. */
  api: string
  token: string
  /** The only authority that is trusted; undefined: the system's. */
  caPem: string | undefined
}

export function readEnvironment(env: NodeJS.ProcessEnv = process.env): Environment {
  return {
    home: env.HOWDAH_HOME || undefined,
    api: env.HOWDAH_API || undefined,
    token: env.HOWDAH_TOKEN || undefined,
    caFile: env.HOWDAH_CA_FILE || undefined,
    noColor: (env.NO_COLOR ?? '') !== '',
    dumbTerminal: env.TERM === 'dumb',
    debug: (env.HOWDAH_DEBUG ?? '') !== '',
    inherited: env,
  }
}

export function chooseHome(flag: string | undefined, environment: Environment): string {
  const chosen = flag ?? environment.home
  if (chosen !== undefined) return resolve(chosen)
  return process.geteuid?.() === 0 ? '/var/lib/howdah' : join(homedir(), '.howdah')
}

/** Throws `platform-unreachable` when nothing says where the platform is. */
export function readConnection(home: string, environment: Environment): Connection {
  const file = readConfigFile(join(home, 'cli.json'))
  const api = environment.api ?? file.api
  const token = environment.token ?? file.token
  if (api === undefined) {
    throw new HowdahError('platform-unreachable', `no platform is known: no ${home}/cli.json`, {
      extra: {
        hint: 'start one with howdah up, or set HOWDAH_API, HOWDAH_TOKEN and HOWDAH_CA_FILE',
      },
    })
  }
  if (token === undefined) {
    throw new HowdahError('not-authenticated', 'no token is known', {
      extra: { hint: 'set HOWDAH_TOKEN, or start a platform of your own with howdah up' },
    })
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(token)) {
    throw new HowdahError('not-authenticated', 'the token holds characters that no token has')
  }
  return { api: parseApiOrigin(api), token, caPem: readCa(file.ca, file.api, api, environment) }
}

function readCa(
  fileCa: string | undefined,
  fileApi: string | undefined,
  api: string,
  environment: Environment,
): string | undefined {
  if (environment.caFile !== undefined) {
    try {
      return readFileSync(environment.caFile, 'utf8')
    } catch (error) {
      throw unusable(`cannot read HOWDAH_CA_FILE ${environment.caFile}`, error)
    }
  }
  // The pinned authority belongs to the platform of cli.json; another platform has its own.
  return fileApi === api || environment.api === undefined ? fileCa : undefined
}

function parseApiOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw unusable(`the API address ${JSON.stringify(text)} is not an https:// URL`)
  }
  return url.origin
}

function readConfigFile(path: string): { api?: string; token?: string; ca?: string } {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return {}
    if (code === 'EACCES') {
      throw unusable(`${path} cannot be read by this user`, error, {
        hint: 'run as the user that started the platform, or set HOWDAH_HOME',
      })
    }
    throw unusable(`cannot read ${path}`, error)
  }
  return parseConfig(path, text)
}

function parseConfig(path: string, text: string): { api?: string; token?: string; ca?: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's message quotes the text, which holds the token.
    throw unusable(`${path} is not JSON`)
  }
  if (typeof value !== 'object' || value === null) throw unusable(`${path} is not a JSON object`)
  const config: { api?: string; token?: string; ca?: string } = {}
  for (const key of ['api', 'token', 'ca'] as const) {
    const field: unknown = (value as Record<string, unknown>)[key]
    if (field === undefined) continue
    if (typeof field !== 'string') throw unusable(`${path}: "${key}" is not a text`)
    config[key] = field
  }
  return config
}

function unusable(detail: string, cause?: unknown, extra?: Record<string, string>): HowdahError {
  const hint = 'howdah up writes a new cli.json; see HOWDAH_API, HOWDAH_TOKEN and HOWDAH_CA_FILE'
  return new HowdahError('bad-request', detail, { cause, extra: { hint, ...extra } })
}
