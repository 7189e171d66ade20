// Owns what the benches of backups have in common: one source with its data, one store for both
// sides, and the settings that they run with.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { openHostRoot } from '../../agent/src/host-root.ts'
import { startS3, type TestS3 } from '../../test/harness/s3.ts'
import { until } from '../../test/harness/until.ts'
import { type BenchUser, findBenchUser } from '../background-process.ts'
import type { Results } from '../results.ts'
import { makeWorkDirectory, type WorkDirectory } from '../work-directory.ts'
import { type OurRepository, openOurs, storageOf } from './ours.ts'
import { openSeedsStream, type SeedsStream } from './seeds-stream.ts'
import { fillSource, type Source, startSource } from './source.ts'

export interface BackupBenchOptions {
  rounds: number
  /** Of the data, in megabytes. */
  size: number
  kinds?: readonly string[] | undefined
}

export interface Field extends AsyncDisposable {
  results: Results
  user: BenchUser
  work: WorkDirectory
  store: TestS3
  source: Source
  /** To the store, and to a directory: what the store costs is the difference. */
  ours: OurRepository
  directory: OurRepository
  seeds: SeedsStream
  rootPath: string
}

const MB = 1024 * 1024
const PORT = 6434
const SOURCE = 'source'
const ARCHIVED_TIMEOUT_MS = 600_000
/**
 * A store is another machine with disks of its own: what it writes must not make the source wait.
 */
const MEMORY = '/dev/shm'
/** A platform sizes them from the host; big enough that no checkpoint comes by itself. */
const SETTINGS = {
  shared_buffers: '512MB',
  max_wal_size: '16GB',
  checkpoint_timeout: '30min',
  wal_level: 'replica',
  wal_log_hints: 'on',
  wal_compression: 'on',
  track_commit_timestamp: 'on',
  archive_mode: 'on',
  archive_command: '/bin/true',
  archive_timeout: '60',
}

export async function openField(results: Results, options: BackupBenchOptions): Promise<Field> {
  await using undo = new AsyncDisposableStack()
  const user = await findBenchUser()
  const work = undo.use(await makeWorkDirectory(user, 'backup'))
  const root = await openHostRoot(join(work.path, 'h'), user.name)
  const storeParent = existsSync(MEMORY) ? MEMORY : undefined
  const store = undo.use(await startS3(storeParent))
  results.note('store', { parent: storeParent ?? 'the disk of the source' })
  const place = { root, user, directory: work.path, name: SOURCE, port: PORT, settings: SETTINGS }
  const source = undo.use(await startSource(place))
  const at = { root, source: SOURCE, port: PORT }
  const ours = await openOurs({ ...at, name: 'ours', storage: storageOf(store) })
  const path = join(work.path, 'repository')
  const near = { kind: 'directory' as const, path }
  const directory = await openOurs({ ...at, name: 'ours-directory', storage: near })
  await ours.prepare()
  await directory.prepare()
  const startedMs = performance.now()
  await fillSource(source, options.size * MB)
  const [row] = await source.query<{ bytes: number }>(
    'select sum(pg_database_size(oid))::float8 as bytes from pg_database',
  )
  const fillMs = Math.round(performance.now() - startedMs)
  results.note('source', { bytes: row?.bytes, wantedMb: options.size, fillMs, settings: SETTINGS })
  const seeds = await openSeedsStream(source, store, work.path)
  const parts = undo.move()
  return {
    ...{ results, user, work, store, source, ours, directory, seeds, rootPath: root.path },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Only what a side needs: WAL that goes to two places at once would cost twice. */
export async function archiveTo(
  { source }: Pick<Field, 'source'>,
  repositories: readonly OurRepository[],
): Promise<void> {
  const command = repositories.map(({ archiveCommand }) => archiveCommand).join(' && ')
  await source.alter({ archive_command: command === '' ? '/bin/true' : command })
  const [row] = await source.query<{ name: string }>(
    'select pg_walfile_name(pg_switch_wal()) as name from pg_create_restore_point($$begin$$)',
  )
  await waitArchived(source, row?.name ?? '')
}

export async function waitArchived(source: Source, segment: string): Promise<void> {
  await until(`${segment} to be archived`, ARCHIVED_TIMEOUT_MS, async () => {
    const [row] = await source.query<{ last: string | null }>(
      'select last_archived_wal as last from pg_stat_archiver',
    )
    const last = row?.last ?? ''
    return last >= segment ? { value: true } : { seen: last }
  })
}

/** The store runs in this process: its share of one processor says whether it was the limit. */
export async function measured<T>(work: () => Promise<T>) {
  const before = process.cpuUsage()
  const startedMs = performance.now()
  const value = await work()
  const ms = Math.round(performance.now() - startedMs)
  const { user, system } = process.cpuUsage(before)
  return { value, ms, storeShare: Math.round((user + system) / ms / 10) / 100 }
}

/** A-B-C and C-B-A in turn: what drifts over the run meets each subject alike. */
export function inTurn<T>(subjects: readonly T[], round: number): readonly T[] {
  return round % 2 === 1 ? subjects : subjects.toReversed()
}

export const perSecond = (bytes: number, ms: number): number =>
  Math.round((bytes / MB / (ms / 1000)) * 10) / 10
