// Owns the agent's settings: one table from which parser and documentation follow. The only file
// of the agent that reads the environment.
import { userInfo } from 'node:os'
import { HowdahError } from '@howdah/core/errors.ts'

export interface AgentConfig {
  hostRoot: string
  controlPlanes: readonly string[]
  enrolmentTokenFile: string | undefined
  serviceUser: string
  memoryBytes: number | undefined
  keepsSpares: boolean
  logLevel: string
}

interface Setting {
  key: keyof AgentConfig
  env: string
  /** `undefined`: there is no default and the setting may be left out. */
  fallback: string | undefined
  required: boolean
  /** What is accepted, in words; completes "expected …". */
  expected: string
  parse: (text: string) => AgentConfig[keyof AgentConfig]
  doc: string
}

function defaultServiceUser(): string {
  const caller = userInfo()
  return caller.uid === 0 ? 'postgres' : caller.username
}

/** Precedence: environment, then the default. */
export const SETTINGS: readonly Setting[] = [
  {
    key: 'hostRoot',
    env: 'HOWDAH_HOST_ROOT',
    fallback: '/var/lib/howdah/host',
    required: true,
    expected: 'an absolute path of at most 80 plain characters',
    parse: (text) => (/^\/[A-Za-z0-9_./-]{0,79}$/.test(text) ? text.replace(/\/+$/, '') : ''),
    doc: 'Directory that holds everything of this host',
  },
  {
    key: 'controlPlanes',
    env: 'HOWDAH_CONTROL_PLANES',
    fallback: undefined,
    required: true,
    expected: 'https URLs of the control planes, separated by commas',
    parse: parseUrls,
    doc: 'Where the agents’ listener of each control plane is; tried in turn',
  },
  {
    key: 'enrolmentTokenFile',
    env: 'HOWDAH_ENROLMENT_TOKEN_FILE',
    fallback: undefined,
    required: false,
    expected: 'an absolute path',
    parse: (text) => (text.startsWith('/') ? text : ''),
    doc: 'File with the one-time token; read once, removed after enrolment',
  },
  {
    key: 'serviceUser',
    env: 'HOWDAH_SERVICE_USER',
    fallback: defaultServiceUser(),
    required: true,
    expected: 'the name of an operating system user',
    parse: (text) => (/^[a-z_][a-z0-9_-]{0,31}$/.test(text) ? text : ''),
    doc: 'User that services run as; the caller unless the agent runs as root',
  },
  {
    key: 'memoryBytes',
    env: 'HOWDAH_MEMORY_BYTES',
    fallback: undefined,
    required: false,
    expected: 'a number of bytes, at least 67108864',
    parse: (text) => (/^[0-9]{8,15}$/.test(text) && Number(text) >= 2 ** 26 ? Number(text) : ''),
    doc: 'Memory that clusters of this host may use; all of the machine unless set',
  },
  {
    key: 'keepsSpares',
    env: 'HOWDAH_SPARES',
    fallback: 'on',
    required: true,
    expected: 'on or off',
    parse: (text) => (text === 'on' || text === 'off' ? text === 'on' : ''),
    doc: 'Whether the host keeps an empty data directory for the next new cluster, 40 MB',
  },
  {
    key: 'logLevel',
    env: 'HOWDAH_LOG_LEVEL',
    fallback: 'info',
    required: true,
    expected: 'one of trace, debug, info, warn, error, silent',
    parse: (text) => (/^(trace|debug|info|warn|error|silent)$/.test(text) ? text : ''),
    doc: 'Least level that is logged',
  },
]

function parseUrls(text: string): readonly string[] | '' {
  const urls = text.split(',').map((url) => url.trim().replace(/\/+$/, ''))
  const fits = urls.every((url) => URL.canParse(url) && new URL(url).protocol === 'https:')
  return fits && urls.length <= 32 ? Object.freeze(urls) : ''
}

/** Throws one error that lists every problem at once. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): AgentConfig {
  const problems: string[] = []
  const values: Partial<Record<keyof AgentConfig, unknown>> = {}
  for (const setting of SETTINGS) {
    const text = env[setting.env] || setting.fallback
    if (text === undefined) {
      if (setting.required) problems.push(`${setting.env} is missing: expected ${setting.expected}`)
      continue
    }
    const value = setting.parse(text)
    const seen = JSON.stringify(text)
    if (value === '') problems.push(`${setting.env} is ${seen}: expected ${setting.expected}`)
    values[setting.key] = value
  }
  if (problems.length > 0) throw new HowdahError('preflight-failed', problems.join('; '))
  return Object.freeze(values) as unknown as AgentConfig
}
