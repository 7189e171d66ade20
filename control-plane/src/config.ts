// Owns the control plane's process configuration: one table, read once at boot. Nothing else looks
// at the environment. Secrets are removed from the environment after reading, so no child can
// inherit them.
import { hostname } from 'node:os'
import { AGENT_PORT, API_PORT } from '@howdah/core/contract/resource.ts'

interface Setting {
  env: string
  doc: string
  fallback?: string
  secret?: true
  /** Returns what is wrong, or undefined. */
  check?: (text: string) => string | undefined
}

const port = (text: string) =>
  /^[0-9]{1,5}$/.test(text) && Number(text) <= 65_535 ? undefined : 'expected a port number'
const oneOf =
  (...allowed: string[]) =>
  (text: string) =>
    allowed.includes(text) ? undefined : `expected one of ${allowed.join(', ')}`

export const SETTINGS = {
  role: {
    env: 'HOWDAH_ROLE',
    doc: 'What this process does: api serves requests, worker runs operations, all does both',
    fallback: 'all',
    check: oneOf('api', 'worker', 'all'),
  },
  databaseUrl: {
    env: 'HOWDAH_DATABASE_URL',
    doc: 'The platform database, e.g. postgresql://howdah@db.example/howdah',
    secret: true,
  },
  masterKeyFile: {
    env: 'HOWDAH_MASTER_KEY_FILE',
    doc: 'File with 64 hex digits: the key that seals secrets; back it up apart from the database',
  },
  apiAddress: { env: 'HOWDAH_API_ADDRESS', doc: 'Address of the API', fallback: '127.0.0.1' },
  apiPort: {
    env: 'HOWDAH_API_PORT',
    doc: 'Port of the API',
    fallback: String(API_PORT),
    check: port,
  },
  agentAddress: {
    env: 'HOWDAH_AGENT_ADDRESS',
    doc: 'Address that agents call',
    fallback: '127.0.0.1',
  },
  agentPort: {
    env: 'HOWDAH_AGENT_PORT',
    doc: 'Port that agents call',
    fallback: String(AGENT_PORT),
    check: port,
  },
  publicNames: {
    env: 'HOWDAH_PUBLIC_NAMES',
    doc: 'Further DNS names and addresses for the server certificate, separated by commas',
    fallback: '',
  },
  workerId: {
    env: 'HOWDAH_WORKER_ID',
    doc: 'Stable name of this process among the workers',
    fallback: hostname(),
    check: (text: string) =>
      /^[A-Za-z0-9._-]{1,64}$/.test(text) ? undefined : 'expected letters, digits, ".", "_", "-"',
  },
  adminTokenFile: {
    env: 'HOWDAH_ADMIN_TOKEN_FILE',
    doc: 'Where the first start writes the token of the user admin, 0600',
    fallback: 'admin-token',
  },
  caFile: {
    env: 'HOWDAH_CA_FILE',
    doc: 'Where the certificate of the platform CA is written at each start; empty: nowhere',
    fallback: '',
  },
  faultFile: {
    env: 'HOWDAH_FAULT_FILE',
    doc: 'For tests: a file that names a fault point at which the process kills itself; empty: off',
    fallback: '',
  },
  undoDays: {
    env: 'HOWDAH_UNDO_DAYS',
    doc: 'Days for which a deleted cluster, or what a restore set aside, can be brought back',
    fallback: '7',
    check: (text: string) =>
      /^[0-9]{1,3}$/.test(text) ? undefined : 'expected a number of days, 0 to 999',
  },
  backupDirectory: {
    env: 'HOWDAH_BACKUP_DIRECTORY',
    doc: 'Same storage on every host: the repository local, where there is none yet; empty: off',
    fallback: '',
    check: (text: string) =>
      /^((\/(?!\.{1,2}(\/|$))[A-Za-z0-9_.-]+)+)?$/.test(text)
        ? undefined
        : 'expected an absolute path',
  },
  archiveCheckSeconds: {
    env: 'HOWDAH_ARCHIVE_CHECK_SECONDS',
    doc: 'Between two looks at whether the WAL of a cluster is in its repository, 1 to 3600',
    // Together with the look itself less than the minute within which a gap is told.
    fallback: '30',
    check: (text: string) =>
      /^[0-9]{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= 3600
        ? undefined
        : 'expected a number of seconds, 1 to 3600',
  },
  logLevel: {
    env: 'HOWDAH_LOG_LEVEL',
    doc: 'debug, info, warn or error',
    fallback: 'info',
    check: oneOf('debug', 'info', 'warn', 'error'),
  },
} as const satisfies Record<string, Setting>

export type Config = Readonly<Record<keyof typeof SETTINGS, string>>

/** Throws one error that lists every problem at once. */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = []
  const values: Record<string, string> = {}
  for (const [key, setting] of Object.entries(SETTINGS) as [string, Setting][]) {
    const text = environment[setting.env] ?? setting.fallback
    if (text === undefined) {
      problems.push(`${setting.env} is not set: ${setting.doc}`)
      continue
    }
    const wrong = setting.check?.(text)
    if (wrong !== undefined) {
      const seen = setting.secret === true ? '[secret]' : JSON.stringify(text)
      problems.push(`${setting.env} is ${seen}: ${wrong}`)
    }
    values[key] = text
    if (setting.secret === true) delete environment[setting.env]
  }
  if (problems.length > 0) throw new Error(`configuration:\n  ${problems.join('\n  ')}`)
  return Object.freeze(values as Config)
}
