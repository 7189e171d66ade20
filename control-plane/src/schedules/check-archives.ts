// Owns the check that WAL is where it is said to be: twice a minute for each cluster, whoever of
// the control planes comes first. A gap is told within a minute of its making: repaired where an
// instance still has the WAL, and otherwise closed by a full backup, as nothing else can.
import { describeError } from '@howdah/core/errors.ts'
import { archiveNews, continueStatus } from '../backups/archive-news.ts'
import { type ArchiveStatus, NOTHING_SEEN, parseStatus } from '../backups/archive-status.ts'
import { lookAndRepair } from '../backups/repair-archive.ts'
import type { Queryable } from '../database.ts'
import { listBackups, runSoon } from '../db/backups.ts'
import { type ClusterRow, findCluster } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import {
  type Busy,
  claimStanzaCheck,
  type StanzaRow,
  storeStanzaStatus,
} from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'

const LOOK_MS_MAX = 5000
const AT_ONCE = 32
const AT_ONCE_PER_REPOSITORY = 4
export function startArchiveChecks(platform: Platform): { stop(): void } {
  const everySeconds = Number(platform.config.archiveCheckSeconds)
  const warn = (said: string) => (error: unknown) =>
    platform.log.warn({ error: describeError(error) }, said)
  let isStopped = false
  const rounds = makeRounds(
    async (busy) =>
      isStopped ? undefined : await claimStanzaCheck(platform.database, everySeconds, busy),
    (stanza) => checkArchive(platform, stanza).catch(warn('archive not checked')),
  )
  const look = () => void rounds().catch(warn('archive checks failed'))
  const timer = setInterval(look, Math.min(LOOK_MS_MAX, (everySeconds * 1000) / 2))
  return {
    stop() {
      isStopped = true
      clearInterval(timer)
    },
  }
}

/**
 * Each call begins what is due, as far as there are places, and does not wait for it: a store that
 * does not answer makes its clusters wait, and nobody else's.
 */
export function makeRounds<Due extends { repository_id: string; cluster_id: string }>(
  claim: (busy: Busy) => Promise<Due | undefined>,
  work: (due: Due) => Promise<unknown>,
): () => Promise<void> {
  const working = new Set<Due>()
  const busy = (): Busy => {
    const repositories = [...working].map(({ repository_id }) => repository_id)
    return {
      repositories: [...new Set(repositories)].filter(
        (id) => repositories.filter((each) => each === id).length >= AT_ONCE_PER_REPOSITORY,
      ),
      clusters: [...working].map(({ cluster_id }) => cluster_id),
    }
  }
  const begin = async (): Promise<void> => {
    while (working.size < AT_ONCE) {
      const due = await claim(busy())
      if (due === undefined) return
      working.add(due)
      // Its place is for the next one that is due, at once.
      void work(due).finally(() => {
        working.delete(due)
        round().catch(() => undefined)
      })
    }
  }
  // One after the other, or two would take the last place of a repository.
  let begun: Promise<void> = Promise.resolve()
  const round = (): Promise<void> => {
    begun = begun.then(begin, begin)
    return begun
  }
  return round
}

/** Looks, compares with the look before, and tells what is new. */
export async function checkArchive(platform: Platform, stanza: StanzaRow): Promise<ArchiveStatus> {
  const before = parseStatus(stanza.status) ?? NOTHING_SEEN
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
