// Owns the check that WAL is where it is said to be: once a minute for each cluster, whoever of the
// control planes comes first. A gap is told within a minute of its making: repaired where an
// instance still has the WAL, and otherwise closed by a full backup, as nothing else can.
import { describeError } from '@howdah/core/errors.ts'
import { describeRange } from '@howdah/core/wal.ts'
import { type ArchiveStatus, parseStatus } from '../backups/archive-status.ts'
import { removeExpired } from '../backups/remove-stanza.ts'
import { lookAndRepair } from '../backups/repair-archive.ts'
import type { Queryable } from '../database.ts'
import { listBackups, runSoon } from '../db/backups.ts'
import { type ClusterRow, findCluster } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import { claimStanzaCheck, type StanzaRow, storeStanzaStatus } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'

const LOOK_MS = 5000
const EVERY_SECONDS = 50
const NOTHING: ArchiveStatus = {
  presentLsn: '0/0',
  timeline: 1,
  starts: [],
  archivedLsn: null,
  lastSegment: null,
  lastAt: null,
  failedSegment: null,
  failedAt: null,
  waitingSegments: 0,
  gaps: [],
  gapsSince: null,
  archiveBytes: 0,
  archiveSegments: 0,
  error: '',
}

export function startArchiveChecks(platform: Platform): { stop(): void } {
  let running = false
  const run = async () => {
    if (running) return
    running = true
    await checkDue(platform)
      .then(() => removeExpired(platform))
      .catch((error) => platform.log.warn({ error: describeError(error) }, 'archive checks failed'))
    running = false
  }
  const timer = setInterval(() => void run(), LOOK_MS)
  return { stop: () => clearInterval(timer) }
}

async function checkDue(platform: Platform): Promise<void> {
  for (;;) {
    const stanza = await claimStanzaCheck(platform.database, EVERY_SECONDS)
    if (stanza === undefined) return
    await checkArchive(platform, stanza)
  }
}

/** Looks, compares with the look before, and tells what is new. */
export async function checkArchive(platform: Platform, stanza: StanzaRow): Promise<ArchiveStatus> {
  const before = parseStatus(stanza.status) ?? NOTHING
  const cluster = await findCluster(platform.database, stanza.cluster_id)
  if (cluster?.state !== 'available') return before
  const now = await lookAndRepair(platform, cluster, stanza, before).then(
    (seen): ArchiveStatus => ({
      ...seen,
      gapsSince: seen.gaps.length === 0 ? null : (before.gapsSince ?? new Date().toISOString()),
    }),
    // What was seen last stays: it is true until somebody sees something else.
    (error): ArchiveStatus => ({ ...before, error: describeError(error).slice(0, 1000) }),
  )
  await platform.database.transaction(async (tx) => {
    await storeStanzaStatus(tx, stanza, now)
    await tellNews(tx, cluster, before, now)
  })
  return now
}

const isFailing = ({ failedAt, lastAt }: ArchiveStatus): boolean =>
  failedAt !== null && (lastAt === null || failedAt > lastAt)

async function tellNews(
  tx: Queryable,
  cluster: ClusterRow,
  before: ArchiveStatus,
  now: ArchiveStatus,
): Promise<void> {
  const tell = (kind: string, message: string) =>
    addEvent(tx, { kind, message, clusterId: cluster.id })
  if (now.gaps.length > 0 && before.gapsSince === null) {
    // The window begins anew with the next backup: as soon as there can be one.
    if ((await listBackups(tx, cluster.id)).length > 0) await runSoon(tx, cluster.id, 'full', 0)
    const said = now.gaps.map(describeRange).join('; ')
    await tell('archive.gap', `WAL of ${cluster.name} is missing in its repository: ${said}`)
  }
  if (now.gaps.length === 0 && before.gapsSince !== null) {
    await tell('archive.whole', `the archive of ${cluster.name} has no gap any more`)
  }
  if (isFailing(now) && !isFailing(before)) {
    const said = `${now.failedSegment} failed, ${now.waitingSegments} segments wait`
    await tell('archive.failing', `WAL of ${cluster.name} cannot be archived: ${said}`)
  }
  if (!isFailing(now) && isFailing(before)) {
    await tell('archive.works', `WAL of ${cluster.name} is archived again`)
  }
  if (now.error !== '' && before.error === '') {
    await tell('archive.unseen', `the archive of ${cluster.name} cannot be looked at: ${now.error}`)
  }
}
