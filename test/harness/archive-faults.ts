// Owns what may happen to the store of a cluster while it works, and the trial of each: it is told
// within a minute, the clients of the cluster notice nothing, and archiving goes on by itself when
// the cause is gone.
import { chown, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BackupStatus } from '@howdah/core/contract/backups.ts'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Event } from '@howdah/core/contract/operations.ts'
import { formatSegmentName, parseLsn, segmentOf } from '@howdah/core/wal.ts'
import type { TestCluster } from './cluster.ts'
import type { FaultyS3, FaultySettings } from './faulty-s3.ts'
import type { TestPlatform } from './platform.ts'
import { superuserSql } from './superuser-sql.ts'
import { until } from './until.ts'
import { startWriter, type WriterReport } from './writer.ts'

export interface ArchiveFault {
  name: string
  /** `away`: nobody listens. */
  store: FaultySettings | 'away'
  /** Kinds of events, one of which must come; undefined: it may be too small a thing to be told. */
  told: readonly string[] | undefined
}

interface ClusterStage {
  platform: TestPlatform
  cluster: TestCluster
}

export interface ArchiveStage extends ClusterStage {
  store: FaultyS3
}

export interface ArchiveTrial {
  /** From the end of the first segment that met the fault. */
  toldMs: number | null
  /** From the end of the fault. */
  wholeMs: number
  writer: WriterReport
}

/** WAL that is in no repository may not go unnoticed for longer. */
const TOLD_TIMEOUT_MS = 60_000
const WHOLE_TIMEOUT_MS = 120_000
const WRITE = /^PUT /
const SEGMENT = /^PUT .*\/archive\/.*[0-9A-F]{24}-/
const UNREACHED = ['archive.failing', 'archive.unseen']

export const ARCHIVE_FAULTS: readonly ArchiveFault[] = [
  { name: 'away', store: 'away', told: UNREACHED },
  {
    name: 'unavailable',
    store: { fault: { kind: 'answer', status: 503, code: 'SlowDown' } },
    told: UNREACHED,
  },
  {
    name: 'forgets',
    store: { fault: { kind: 'forget' }, concerns: SEGMENT },
    told: ['archive.gap'],
  },
  { name: 'silent', store: { fault: { kind: 'stall' } }, told: UNREACHED },
  {
    name: 'full',
    store: { fault: { kind: 'answer', status: 507, code: 'InsufficientStorage' }, concerns: WRITE },
    told: ['archive.failing'],
  },
  {
    name: 'keys-revoked',
    store: { fault: { kind: 'answer', status: 403, code: 'InvalidAccessKeyId' } },
    told: UNREACHED,
  },
  { name: 'certificate-expired', store: { fault: { kind: 'expired' } }, told: UNREACHED },
  {
    name: 'cut',
    store: { fault: { kind: 'cut', afterBytes: 1000 }, concerns: WRITE },
    told: ['archive.failing'],
  },
  { name: 'slow', store: { fault: { kind: 'slow', bytesPerSecond: 1000 } }, told: undefined },
]

export async function sufferFault(stage: ArchiveStage, fault: ArchiveFault): Promise<ArchiveTrial> {
  const { cluster, store } = stage
  await using writer = await startWriter({ cluster }, `during_${fault.name.replaceAll('-', '_')}`)
  const known = new Set((await listEvents(stage)).map(({ id }) => id))
  const begin = () => (fault.store === 'away' ? store.stop() : store.misbehave(fault.store))
  const end = () => (fault.store === 'away' ? store.start() : store.misbehave(undefined))
  await begin()
  let toldMs: number | null = null
  try {
    await endSegment(stage)
    const startedMs = performance.now()
    if (fault.told === undefined) {
      await until('the fault to be met', TOLD_TIMEOUT_MS, () =>
        store.hits() > 0 ? { value: true } : { seen: 'no request' },
      )
    } else {
      await waitTold(stage, known, fault.told)
      toldMs = Math.round(performance.now() - startedMs)
    }
  } finally {
    await end()
  }
  const startedMs = performance.now()
  await endSegment(stage)
  await waitWhole(stage)
  const wholeMs = Math.round(performance.now() - startedMs)
  await until('the writer to go on', TOLD_TIMEOUT_MS, () =>
    writer.committed() > 0 ? { value: true } : { seen: 'nothing was committed' },
  )
  return { toldMs, wholeMs, writer: await writer.stop() }
}

export async function endSegment({ platform, cluster }: ClusterStage): Promise<void> {
  const text = "select pg_create_restore_point('segment'), pg_switch_wal()"
  await superuserSql(platform, cluster.cluster.name, text)
}

/**
 * One that lies beyond the end of the timeline before the present one: its name, what is there once
 * it was archived, and what puts a part of it there to be archived, with its last byte.
 */
export async function leftSegment({ platform, cluster }: ClusterStage) {
  const { name } = cluster.cluster
  const { instances } = (await platform.api<Cluster>('GET', `/v1/clusters/${name}`)).body
  const leader = instances.find(({ role }) => role === 'leader')
  const data = join(platform.home, 'hosts', leader?.host ?? '', 'data', leader?.id ?? '')
  const wal = join(data, 'pgdata', 'pg_wal')
  const text = 'select pg_walfile_name(pg_current_wal_lsn()) as present'
  const [row] = await superuserSql<{ present: string }>(platform, name, text)
  const present = row?.present ?? ''
  const history = await readFile(join(wal, `${present.slice(0, 8)}.history`), 'utf8')
  const [timeline, lsn] = history.trim().split('\n').at(-1)?.split('\t') ?? []
  const number = segmentOf(parseLsn(lsn ?? '') ?? 0n) + 1
  const segment = formatSegmentName({ timeline: Number(timeline), number })
  const content = await readFile(join(wal, present))
  const { uid, gid } = await stat(wal)
  const keep = async (last: number): Promise<void> => {
    content[content.length - 1] = last
    for (const [path, text] of [
      [segment, content],
      [`archive_status/${segment}.ready`, ''],
    ] as const) {
      await writeFile(join(wal, path), text, { mode: 0o600 })
      await chown(join(wal, path), uid, gid)
    }
  }
  return { name: segment, done: join(wal, `archive_status/${segment}.done`), keep }
}

const EVENTS_MAX = 1000

/** All of them, the oldest first: a cluster that works for long has more than a page. */
export async function listEvents({ platform, cluster }: ClusterStage): Promise<Event[]> {
  const events: Event[] = []
  for (;;) {
    const query = `cluster=${cluster.cluster.id}&limit=${EVENTS_MAX}`
    const path = `/v1/events?${query}&after=${events.at(-1)?.id ?? 0}`
    const { body } = await platform.api<{ data: Event[] }>('GET', path)
    events.push(...body.data)
    if (body.data.length < EVENTS_MAX) return events
  }
}

export async function waitTold(
  stage: ArchiveStage,
  known: ReadonlySet<string>,
  kinds: readonly string[],
): Promise<Event> {
  return until<Event>(`${kinds.join(' or ')} to be told`, TOLD_TIMEOUT_MS, async () => {
    const fresh = (await listEvents(stage)).filter(({ id }) => !known.has(id))
    const found = fresh.find(({ kind }) => kinds.includes(kind))
    if (found !== undefined) return { value: found }
    return { seen: fresh.map(({ kind }) => kind).join(', ') || 'no event' }
  })
}

/** Everything up to now can be had again, after whatever gap there was. */
export async function waitWhole({ platform, cluster }: ArchiveStage): Promise<void> {
  const path = `/v1/clusters/${cluster.cluster.id}/backup-status`
  const [row] = await superuserSql<{ lsn: string }>(
    platform,
    cluster.cluster.name,
    'select pg_walfile_name(pg_current_wal_lsn()) as lsn',
  )
  const segment = row?.lsn ?? ''
  await until('the archive to be whole', WHOLE_TIMEOUT_MS, async () => {
    const { body } = await platform.api<BackupStatus>('GET', path)
    const { window, archive, state, message } = body
    const waits = `${archive.waiting_segments} wait, the last is ${archive.last_segment}`
    const seen = `${state}: ${message}; ${waits}`
    const isBehind = archive.waiting_segments > 0 || state === 'behind' || window === null
    // What was written before is archived once a later segment is being written.
    const isPast = (archive.last_segment ?? '') >= previousOf(segment)
    return isBehind || !isPast ? { seen } : { value: true }
  })
}

function previousOf(segment: string): string {
  const number = Number.parseInt(segment.slice(16), 16)
  return (
    segment.slice(0, 16) +
    Math.max(0, number - 1)
      .toString(16)
      .toUpperCase()
      .padStart(8, '0')
  )
}
