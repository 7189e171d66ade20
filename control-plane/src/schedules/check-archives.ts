// Owns the check that WAL is where it is said to be: twice a minute for each cluster, whoever of
// the control planes comes first. A gap is told within a minute of its making: repaired where an
// instance still has the WAL, and otherwise closed by a full backup, as nothing else can.
import { describeError } from '@howdah/core/errors.ts'
import { archiveNews, continueStatus } from '../backups/archive-news.ts'
import { type ArchiveStatus, parseStatus } from '../backups/archive-status.ts'
import { removeExpired } from '../backups/remove-stanza.ts'
import { lookAndRepair } from '../backups/repair-archive.ts'
import type { Queryable } from '../database.ts'
import { listBackups, runSoon } from '../db/backups.ts'
import { type ClusterRow, findCluster } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import { claimStanzaCheck, type StanzaRow, storeStanzaStatus } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'

const LOOK_MS_MAX = 5000
/** A store that does not answer makes its clusters wait, and nobody else's. */
const AT_ONCE = 4
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
  const everySeconds = Number(platform.config.archiveCheckSeconds)
  const timer = setInterval(() => void run(), Math.min(LOOK_MS_MAX, (everySeconds * 1000) / 2))
  return { stop: () => clearInterval(timer) }
}

async function checkDue(platform: Platform): Promise<void> {
  const everySeconds = Number(platform.config.archiveCheckSeconds)
  const checkNext = async (): Promise<void> => {
    for (;;) {
      const stanza = await claimStanzaCheck(platform.database, everySeconds)
      if (stanza === undefined) return
      await checkArchive(platform, stanza)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, checkNext))
}

/** Looks, compares with the look before, and tells what is new. */
export async function checkArchive(platform: Platform, stanza: StanzaRow): Promise<ArchiveStatus> {
  const before = parseStatus(stanza.status) ?? NOTHING
  const cluster = await findCluster(platform.database, stanza.cluster_id)
  if (cluster?.state !== 'available') return before
  const seen = await lookAndRepair(platform, cluster, stanza, before).catch(
    // What was seen last stays: it is true until somebody sees something else.
    (error) => ({ ...before, error: describeError(error).slice(0, 1000) }),
  )
  const now = continueStatus(before, seen, new Date().toISOString())
  await platform.database.transaction(async (tx) => {
    await storeStanzaStatus(tx, stanza, now)
    await tellNews(tx, cluster, before, now)
  })
  return now
}

async function tellNews(
  tx: Queryable,
  cluster: ClusterRow,
  before: ArchiveStatus,
  now: ArchiveStatus,
): Promise<void> {
  const { news, needsBackup } = archiveNews(cluster.name, before, now)
  // The window begins anew with the next backup: as soon as there can be one.
  if (needsBackup && (await listBackups(tx, cluster.id)).length > 0) {
    await runSoon(tx, cluster.id, 'full', 0)
  }
  for (const { kind, message } of news) await addEvent(tx, { kind, message, clusterId: cluster.id })
}
