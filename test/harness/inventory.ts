// Owns the list of everything that a platform holds outside its history: processes, files,
// listening ports, users, roles and keys of the dcs, rows. Two inventories are compared to find
// what an operation left behind, or did differently after a crash.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import pg from 'pg'
import { readDcs } from './dcs.ts'
import { findHomeProcesses } from './home-processes.ts'
import type { TestPlatform } from './platform.ts'

/** Each a sorted list of lines; what changes without a reason (pids, times, sizes) is left out. */
export interface Inventory {
  processes: string[]
  files: string[]
  ports: string[]
  dcs: string[]
  rows: string[]
}

/**
 * The story of what happened grows for ever; users and tokens are not what clusters are made of.
 */
const HISTORY = [
  'event',
  'guard_event',
  'operation',
  'operation_step',
  'task',
  'idempotency',
  'worker',
  'app_user',
  'token',
  'backup',
]
const VOLATILE_COLUMNS = [
  'created_at',
  'seen_at',
  'expires_at',
  'used_at',
  'deleted_at',
  'purge_at',
  'desired_revision',
  'applied_revision',
  'facts',
  'services',
  'canaries',
  'sealed',
  'message',
  'checked_at',
  'status',
  'next_at',
  'cron',
]

export async function inventory(platform: TestPlatform): Promise<Inventory> {
  const db = await connectPlatformDb(platform)
  try {
    return {
      processes: listProcesses(platform.home),
      files: listFiles(platform.home),
      ports: listPorts(platform.subnet),
      dcs: await readDcs(platform, db),
      rows: await listRows(db),
    }
  } finally {
    await db.end()
  }
}

/** The same with names of its own making replaced, so that two clusters of one form look alike. */
export function shapeOf(found: Inventory, clusterName: string): Inventory {
  const shape = (line: string) =>
    line
      .replaceAll(new RegExp(`\\b${clusterName}\\b`, 'g'), 'NAME')
      .replaceAll(/\b(clu|ins|gwy)_[0-9a-z]{26}/g, '$1_ID')
  // Patroni writes this key when it has news: whether it is there is a matter of moments.
  const isLasting = (line: string) => !/^key .*\/status$/.test(line)
  return mapLists(found, (lines) => lines.filter(isLasting).map(shape).sort())
}

/** One line per difference; none when they are the same. */
export function differences(before: Inventory, after: Inventory): string[] {
  return (Object.keys(before) as (keyof Inventory)[]).flatMap((list) => [
    ...subtract(after[list], before[list]).map((line) => `${list}: more: ${line}`),
    ...subtract(before[list], after[list]).map((line) => `${list}: missing: ${line}`),
  ])
}

export async function connectPlatformDb(platform: TestPlatform): Promise<pg.Client> {
  const db = new pg.Client({
    host: join(platform.home, 'platform/run'),
    port: 5432,
    user: 'howdah',
    database: 'howdah',
    connectionTimeoutMillis: 10_000,
  })
  await db.connect()
  return db
}

function mapLists(found: Inventory, change: (lines: string[]) => string[]): Inventory {
  const { processes, files, ports, dcs, rows } = found
  return {
    processes: change(processes),
    files: change(files),
    ports: change(ports),
    dcs: change(dcs),
    rows: change(rows),
  }
}

/** As multisets: a line that is there twice instead of once is a difference. */
function subtract(lines: readonly string[], others: readonly string[]): string[] {
  const left = [...others]
  return lines.filter((line) => {
    const index = left.indexOf(line)
    if (index === -1) return true
    left.splice(index, 1)
    return false
  })
}

/** Services and programs without their number: PostgreSQL's children come and go. */
function listProcesses(home: string): string[] {
  const lines = findHomeProcesses(home).map(({ argv, directory, service }) => {
    const program = argv[0]?.startsWith('postgres:') ? 'postgres' : programOf(argv)
    return `${program} in ${relative(home, service || directory)}`
  })
  // WAL is archived, backups are taken and spares are made whenever it is their time.
  const isTimely = (line: string) => /^(pgbackrest|sh|initdb) |\/data\/spare\b/.test(line)
  return [...new Set(lines)].filter((line) => !isTimely(line)).sort()
}

function programOf(argv: readonly string[]): string {
  const [first = '', second = ''] = argv
  return /^(node|python3?)$/.test(basename(first)) ? second : basename(first)
}

// Below a data directory and a log directory things change all the time; that they are there
// counts.
function listFiles(home: string): string[] {
  const hosts = join(home, 'hosts')
  const ofHosts = readdirSync(hosts)
    .flatMap((host) => [
      ...walk(join(hosts, host, 'config'), 9),
      ...walk(join(hosts, host, 'services'), 1),
      ...walk(join(hosts, host, 'data'), 1),
      ...walk(join(hosts, host, 'log'), 1),
      ...walk(join(hosts, host, 'run'), 9),
      ...walk(join(hosts, host, 'agent/work'), 9),
    ])
    .map((path) => relative(hosts, path))
    .filter((path) => !/\/data\/spare$/.test(path))
  const backups = walk(join(home, 'backups'), 1).map((path) => relative(home, path))
  return [...ofHosts, ...backups].sort()
}

function walk(directory: string, depth: number): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
      const path = join(directory, entry.name)
      return entry.isDirectory() && depth > 1 ? [path, ...walk(path, depth - 1)] : [path]
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

const LISTEN = '0A'

function listPorts(subnet: string): string[] {
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  return lines
    .flatMap((line) => {
      const [, local = '', , state] = line.trim().split(/\s+/)
      const [address = '', port = ''] = local.split(':')
      // Little endian: the last part of the address comes first.
      const parts = address.match(/../g)?.map((part) => Number.parseInt(part, 16)) ?? []
      const host = parts.reverse().join('.')
      const isOurs = state === LISTEN && host.startsWith(`${subnet}.`)
      return isOurs ? [`${host}:${Number.parseInt(port, 16)}`] : []
    })
    .sort()
}

async function listRows(db: pg.Client): Promise<string[]> {
  const { rows: tables } = await db.query<{ name: string }>(
    `select table_name as name from information_schema.tables
     where table_schema = 'public' and table_name <> all($1) order by 1`,
    [HISTORY],
  )
  const lines: string[] = []
  for (const { name } of tables) {
    const { rows } = await db.query<{ row: Record<string, unknown> }>(
      `select to_jsonb(t) - $1::text[] as row from ${pg.escapeIdentifier(name)} t`,
      [VOLATILE_COLUMNS],
    )
    lines.push(...rows.map(({ row }) => `${name} ${JSON.stringify(row)}`))
  }
  return lines.sort()
}
