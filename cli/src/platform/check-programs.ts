// Owns the check that the programs which the platform runs are installed, and in which versions.
import { type CheckResult, fail, ok } from './check.ts'
import { findPostgresql } from './installed-postgresql.ts'
import { tryProgram } from './run-program.ts'

interface WantedProgram {
  name: string
  argv: string[]
  version: RegExp
  packageName: string
}

const WANTED: WantedProgram[] = [
  {
    name: 'patroni',
    argv: ['patroni', '--version'],
    version: /patroni ([0-9.]+)/,
    packageName: 'patroni',
  },
  {
    name: 'etcd',
    argv: ['etcd', '--version'],
    version: /etcd Version: ([0-9.]+)/,
    packageName: 'etcd-server',
  },
  {
    name: 'haproxy',
    argv: ['haproxy', '-v'],
    version: /version ([0-9.]+)/,
    packageName: 'haproxy',
  },
  {
    name: 'pgbouncer',
    argv: ['pgbouncer', '--version'],
    version: /PgBouncer ([0-9.]+)/,
    packageName: 'pgbouncer',
  },
  {
    name: 'pgbackrest',
    argv: ['pgbackrest', 'version'],
    version: /pgBackRest ([0-9.]+)/,
    packageName: 'pgbackrest',
  },
  {
    // What it imports to talk to etcd with TLS are packages of their own, which nothing pulls in.
    name: 'patroni with etcd',
    argv: ['python3', '-c', 'import patroni.dcs.etcd3, idna'],
    version: /^()/,
    packageName: 'python3-etcd python3-idna',
  },
  { name: 's6', argv: ['s6-softlimit', 'true'], version: /^()/, packageName: 's6' },
  { name: 'execline', argv: ['execlineb', '-c', ''], version: /^()/, packageName: 'execline' },
  {
    name: 'openssl',
    argv: ['openssl', 'version'],
    version: /OpenSSL ([0-9.]+)/,
    packageName: 'openssl',
  },
]

const RUNTIME_MAJOR = 24

export async function checkPrograms(): Promise<CheckResult[]> {
  const programs = await Promise.all(WANTED.map(checkProgram))
  return [checkRuntime(), checkPostgresql(), ...programs]
}

async function checkProgram(wanted: WantedProgram): Promise<CheckResult> {
  const result = await tryProgram(wanted.argv, { timeoutMs: 15_000 })
  const match = wanted.version.exec(result.output + result.error)
  const isMissing = /ENOENT|not found/.test(result.error) && result.exitCode !== 0
  if (result.exitCode === 0 && match !== null) {
    const version = /^[0-9]/.test(match[1] ?? '') ? match[1] : 'present'
    return ok(wanted.name, `${version}`)
  }
  const fix = `sh scripts/setup.sh, or: apt-get install ${wanted.packageName}`
  if (isMissing) return fail(wanted.name, 'not installed', fix)
  const said = (result.error || result.output).trim().split('\n').at(-1) ?? ''
  return fail(wanted.name, `does not run: ${said.slice(0, 200)}`, fix)
}

function checkRuntime(): CheckResult {
  const version = process.version.slice(1)
  const major = Number.parseInt(version, 10)
  if (major === RUNTIME_MAJOR) return ok('runtime', `Node.js ${version}`)
  const fix = 'start with ./howdah or npm start, which use the Node.js of node_modules'
  return fail('runtime', `Node.js ${version}, but ${RUNTIME_MAJOR} is needed`, fix)
}

function checkPostgresql(): CheckResult {
  const majors = [...findPostgresql().keys()]
  if (majors.length > 0) return ok('postgresql', majors.join(', '))
  return fail('postgresql', 'not installed', 'sh scripts/setup.sh, or: apt-get install postgresql')
}
