// Owns the PostgreSQL whose backups are measured: one instance without a platform around it, so
// that both ways of backing up read the very same files, and the data that is put in.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { HostRoot } from '../../agent/src/host-root.ts'
import { until } from '../../test/harness/until.ts'
import { makeRandom } from '../../test/harness/workload.ts'
import { type BenchUser, cleanEnvironment, runAs, startProcess } from '../background-process.ts'
import { POSTGRESQL_BINARIES } from '../peers/patroni-cluster.ts'
import { querySql, type SqlAddress } from '../sql.ts'

export interface SourceOptions {
  root: HostRoot
  user: BenchUser
  /** For its log; the user may write there. */
  directory: string
  /** Below `data` of the root. */
  name: string
  port: number
  settings: Readonly<Record<string, string>>
}

export interface Source extends AsyncDisposable {
  user: BenchUser
  dataDirectory: string
  address: SqlAddress
  query<Row extends Record<string, unknown>>(text: string): Promise<Row[]>
  /** Alters settings that need no restart, and has them read. */
  alter(settings: Readonly<Record<string, string>>): Promise<void>
}

const READY_TIMEOUT_MS = 60_000
const QUERY_TIMEOUT_MS = 600_000
/** One scale of pgbench with its index. */
const PGBENCH_SCALE_BYTES = 15.6 * 1024 * 1024
const PARTITIONS = 16
const WORDS = 20_000
const BATCH_ROWS = 2000
const DOCUMENT_WORDS = 150

export async function startSource(options: SourceOptions): Promise<Source> {
  const { root, user, name, port } = options
  const dataDirectory = join(root.path, 'data', name, 'pgdata')
  const initdb = ['-D', dataDirectory, '-U', user.name, '-A', 'trust', '--data-checksums', '-N']
  await runAs(user, '/', join(POSTGRESQL_BINARIES, 'initdb'), [...initdb, '--locale=C.UTF-8'])
  const settings = {
    port: String(port),
    listen_addresses: '',
    unix_socket_directories: join(root.path, 'run'),
    ...options.settings,
  }
  await appendFile(join(dataDirectory, 'postgresql.conf'), renderSettings(settings))
  const server = startProcess(join(POSTGRESQL_BINARIES, 'postgres'), ['-D', dataDirectory], {
    user,
    directory: '/',
    logFile: join(options.directory, `${name}.log`),
  })
  const address = {
    host: join(root.path, 'run'),
    port,
    user: user.name,
    password: '',
    database: 'postgres',
  }
  const limits = { connectTimeoutMs: 2000, queryTimeoutMs: QUERY_TIMEOUT_MS }
  const source: Source = {
    user,
    dataDirectory,
    address,
    query: (text) => querySql(address, text, limits),
    async alter(changes) {
      for (const [key, value] of Object.entries(changes)) {
        await source.query(`alter system set ${key} = '${value.replaceAll("'", "''")}'`)
      }
      await source.query('select pg_reload_conf()')
    },
    [Symbol.asyncDispose]: () => server.stop('SIGQUIT'),
  }
  await until('the source to answer', READY_TIMEOUT_MS, async () => {
    await source.query('select 1')
    return { value: true }
  })
  return source
}

export function renderSettings(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([key, value]) => `${key} = '${value.replaceAll("'", "''")}'\n`)
    .join('')
}

/** Half of it pgbench's tables, half documents of words that come as often as words do. */
export async function fillSource(source: Source, sizeBytes: number): Promise<void> {
  const scale = Math.max(1, Math.round(sizeBytes / 2 / PGBENCH_SCALE_BYTES))
  const program = join(POSTGRESQL_BINARIES, 'pgbench')
  await runAs(source.user, '/', program, [
    ...connectionArgs(source),
    ...['-i', '-q', '-I', 'dtgvp', '-s', String(scale), 'postgres'],
  ])
  await fillDocuments(source, sizeBytes / 2)
  await source.query('vacuum analyze')
  await source.query('checkpoint')
}

export function connectionArgs({ address, user }: Source): string[] {
  return ['-h', address.host, '-p', String(address.port), '-U', user.name]
}

async function fillDocuments(source: Source, sizeBytes: number): Promise<void> {
  const random = makeRandom(1)
  const words = Array.from({ length: WORDS }, () => makeWord(random))
  const rows = Math.round(sizeBytes / 1250)
  await source.query(`create table documents (id bigint not null, written timestamptz not null,
    body text not null) partition by range (id)`)
  const perPartition = Math.ceil(rows / PARTITIONS)
  for (let part = 0; part < PARTITIONS; part += 1) {
    const [from, to] = [part * perPartition, (part + 1) * perPartition]
    await source.query(`create table documents_${part} partition of documents
      for values from (${from}) to (${to})`)
  }
  const copy = ['-q', '-X', '-c', 'copy documents from stdin', 'postgres']
  const psql = spawn('/usr/bin/psql', [...connectionArgs(source), ...copy], {
    cwd: '/',
    env: cleanEnvironment('/'),
    stdio: ['pipe', 'ignore', 'inherit'],
    uid: source.user.uid,
    gid: source.user.gid,
  })
  const ended = once(psql, 'exit')
  await pipeline(Readable.from(documents(random, words, rows)), psql.stdin)
  const [code] = await ended
  if (code !== 0) throw new Error(`psql ended with ${code}`)
  await source.query('alter table documents add primary key (id)')
}

function makeWord(random: () => number): string {
  const length = 2 + Math.floor(random() * 9)
  return Array.from({ length }, () =>
    String.fromCharCode(97 + Math.floor(random() ** 2 * 26)),
  ).join('')
}

/** Few words come often and most of them seldom, as in any language. */
function* documents(
  random: () => number,
  words: readonly string[],
  rows: number,
): Generator<string> {
  const word = () => words[Math.floor(WORDS ** random()) - 1] ?? 'a'
  for (let id = 0; id < rows; ) {
    let batch = ''
    for (const end = Math.min(rows, id + BATCH_ROWS); id < end; id += 1) {
      const body = Array.from({ length: DOCUMENT_WORDS }, word).join(' ')
      batch += `${id}\t2026-01-01 00:00:00+00\t${body}\n`
    }
    yield batch
  }
}

/** One row in a hundred of everything: the newest ones, or any. */
export async function changeOnePercent(
  source: Source,
  which: 'newest' | 'scattered',
): Promise<void> {
  for (const [table, key, column] of [
    ['documents', 'id', "body = body || ' changed'"],
    ['pgbench_accounts', 'aid', 'abalance = abalance + 1'],
  ] as const) {
    const where =
      which === 'newest' ? `${key} > (select max(${key}) * 0.99 from ${table})` : `${key} % 100 = 7`
    await source.query(`update ${table} set ${column} where ${where}`)
  }
  await source.query('checkpoint')
}
