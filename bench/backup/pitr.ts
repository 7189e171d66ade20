// Owns `bench -- pitr`: the same WAL replayed onto the same backup three ways, in turn. Fetched
// ahead by several processes, as the platform has it; fetched one segment after the other; and
// from the directory's own pg_wal, which is what the replay itself takes.
import { chown, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from '../../test/harness/until.ts'
import { runAs, startProcess } from '../background-process.ts'
import { POSTGRESQL_BINARIES } from '../peers/patroni-cluster.ts'
import type { Results } from '../results.ts'
import { querySql } from '../sql.ts'
import { median, pairedRatio } from '../statistics.ts'
import {
  archiveTo,
  type BackupBenchOptions,
  type Field,
  inTurn,
  measured,
  openField,
  waitArchived,
} from './field.ts'
import { connectionArgs, renderSettings } from './source.ts'

const WAYS = ['ahead', 'serial', 'local'] as const
type Way = (typeof WAYS)[number]

interface Prepared {
  field: Field
  /** A restored backup that nobody has started. */
  base: string
  /** Segments after it, as the source wrote them. */
  segments: string
  argv: readonly string[]
}

const MB = 1024 * 1024
const PORT = 6435
const WORK_SECONDS = 3
const CHANGE_EVERY = 10
const CHANGES = [
  ['pgbench_accounts', 'aid', 'abalance = abalance + 1'],
  ['documents', 'id', 'written = now()'],
] as const
const REPLAY_TIMEOUT_MS = 1_800_000

export async function benchPitr(results: Results, options: BackupBenchOptions): Promise<void> {
  await using field = await openField(results, options)
  const prepared = await prepare(field, (options.size / 2) * MB)
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const way of inTurn(WAYS, round)) {
      results.row({ subject: way, round, ...(await replay(prepared, way)) })
    }
  }
  summarize(results)
}

/** A backup, and as much WAL after it as half of the data. */
async function prepare(field: Field, walBytes: number): Promise<Prepared> {
  const { source, ours, results } = field
  // Nothing is recycled: the replay from pg_wal takes the segments from here.
  await source.alter({ wal_keep_size: `${Math.ceil((walBytes * 3) / MB)}MB` })
  await archiveTo(field, [ours])
  const { label } = await ours.backUp('full')
  const [from] = await source.query<{ name: string }>(
    'select pg_walfile_name(pg_current_wal_lsn()) as name',
  )
  const lsn = async () => {
    const text = "select (pg_current_wal_lsn() - '0/0')::float8 as bytes"
    return (await source.query<{ bytes: number }>(text))[0]?.bytes ?? 0
  }
  const begun = await lsn()
  let steps = 0
  for (; (await lsn()) - begun < walBytes; steps += 1) await writeWal(field, steps)
  const [to] = await source.query<{ name: string }>(
    'select pg_walfile_name(pg_switch_wal()) as name',
  )
  await waitArchived(source, to?.name ?? '')
  const written = (await lsn()) - begun
  results.note('wal', { bytes: written, steps, from: from?.name, to: to?.name })
  const base = await ours.restore(label, 'base')
  return {
    field,
    base,
    segments: join(source.dataDirectory, 'pg_wal'),
    argv: await ours.writeConfiguration('replayed'),
  }
}

/** Short transactions, then changes of many rows: by themselves the former take for ever. */
async function writeWal({ source, user }: Field, step: number): Promise<void> {
  const load = ['-n', '-N', '-c', '4', '-T', String(WORK_SECONDS), 'postgres']
  const program = join(POSTGRESQL_BINARIES, 'pgbench')
  await runAs(user, '/', program, [...connectionArgs(source), ...load])
  for (const [table, key, column] of CHANGES) {
    await source.query(
      `update ${table} set ${column} where ${key} % ${CHANGE_EVERY} = ${step % CHANGE_EVERY}`,
    )
  }
}

async function replay({ field, base, segments, argv }: Prepared, way: Way) {
  const { user, rootPath, work } = field
  const place = join(rootPath, 'data/replayed')
  const directory = join(place, 'pgdata')
  await rm(place, { recursive: true, force: true })
  const as = (program: string, args: string[]) => runAs(user, '/', program, args)
  await as('/usr/bin/mkdir', ['-p', place])
  await as('/usr/bin/cp', ['-a', base, directory])
  if (way === 'local') {
    await rm(join(directory, 'recovery.signal'))
    await as('/usr/bin/cp', ['-an', `${segments}/.`, join(directory, 'pg_wal')])
  }
  const config = join(work.path, 'replay.conf')
  await writeFile(config, renderSettings(settingsOf(rootPath, directory, argv, way)))
  await chown(config, user.uid, user.gid)
  const logFile = join(work.path, 'replay.log')
  await rm(logFile, { force: true })
  const address = {
    host: join(rootPath, 'run'),
    ...{ port: PORT, user: user.name, password: '', database: 'postgres' },
  }
  const { ms, storeShare, value } = await measured(async () => {
    const args = ['-D', directory, '-c', `config_file=${config}`]
    const program = join(POSTGRESQL_BINARIES, 'postgres')
    const server = startProcess(program, args, { user, directory: '/', logFile })
    try {
      return await until('the replay to end', REPLAY_TIMEOUT_MS, async () => {
        const [row] = await querySql<{ bytes: number }>(
          address,
          'select sum(abalance)::float8 as bytes from pgbench_accounts',
        )
        return { value: row?.bytes ?? 0 }
      })
    } finally {
      await server.stop('SIGINT')
    }
  })
  // Nothing was synced: an agent has all of it on disk before it says that it is there.
  const syncedMs = performance.now()
  await as(join(POSTGRESQL_BINARIES, 'initdb'), ['--sync-only', '-D', directory])
  const syncMs = Math.round(performance.now() - syncedMs)
  const redo = readLog(await readFile(logFile, 'utf8'))
  return { ms, ...redo, syncMs, durableMs: ms + syncMs, storeShare, balance: value }
}

/** What an agent has for its own replays, but for the way to the WAL. */
function settingsOf(rootPath: string, directory: string, argv: readonly string[], way: Way) {
  const async = way === 'ahead' ? '--archive-async' : '--no-archive-async'
  const command = `${argv.join(' ')} ${async} --pg1-path=${directory} archive-get %f "%p"`
  return {
    data_directory: directory,
    hba_file: join(directory, 'pg_hba.conf'),
    ident_file: join(directory, 'pg_ident.conf'),
    listen_addresses: '',
    unix_socket_directories: join(rootPath, 'run'),
    port: String(PORT),
    archive_mode: 'off',
    hot_standby: 'off',
    track_commit_timestamp: 'on',
    wal_log_hints: 'on',
    autovacuum: 'off',
    fsync: 'off',
    shared_buffers: '64MB',
    max_wal_size: '1GB',
    max_connections: '20',
    timezone: 'UTC',
    restore_command: command,
    recovery_target_action: 'promote',
  }
}

/** `redo done at 0/… system usage: CPU: user: 1.20 s, system: 0.30 s, elapsed: 2.10 s` */
function readLog(log: string) {
  const match = /redo done at \S+ system usage: .*elapsed: ([\d.]+) s/.exec(log)
  const processor = /redo done .*user: ([\d.]+) s, system: ([\d.]+) s/.exec(log)
  if (match === null) throw new Error(log.slice(-2000))
  return {
    redoMs: Math.round(Number(match[1]) * 1000),
    redoProcessorMs: Math.round((Number(processor?.[1]) + Number(processor?.[2])) * 1000),
  }
}

/** Whichever way it was fetched, the same must have come of it. */
function checkBalances(results: Results): void {
  const found = new Set(WAYS.flatMap((way) => results.numbers(way, 'balance')))
  if (found.size > 1) throw new Error(`the replays differ: ${[...found].join(', ')}`)
}

function summarize(results: Results): void {
  checkBalances(results)
  const of = (subject: string, field: string) => results.numbers(subject, field)
  const ways = WAYS.map((way) => [
    way,
    {
      ms: median(of(way, 'ms')),
      redoMs: median(of(way, 'redoMs')),
      durableMs: median(of(way, 'durableMs')),
      storeShare: median(of(way, 'storeShare')),
    },
  ])
  const summary = {
    rounds: of('ahead', 'ms').length,
    ...Object.fromEntries(ways),
    serialOverAhead: pairedRatio(of('serial', 'redoMs'), of('ahead', 'redoMs')),
    serialOverAheadWhole: pairedRatio(of('serial', 'ms'), of('ahead', 'ms')),
    aheadOverLocal: pairedRatio(of('ahead', 'redoMs'), of('local', 'redoMs')),
    aheadOverLocalWhole: pairedRatio(of('ahead', 'ms'), of('local', 'ms')),
  }
  results.summary(summary)
}
