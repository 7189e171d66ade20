// Owns the end of backups: those of a cluster that is gone are removed from their repository when
// their time has passed. What cannot be removed now is tried again later.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { hostState, listHosts } from '../db/hosts.ts'
import { deleteStanza, listExpiredStanzas, type StanzaRow } from '../db/repositories.ts'
import { deleteSecrets } from '../db/secrets.ts'
import type { Platform } from '../operations/operation.ts'
import {
  accessOn,
  loadStanza,
  placeOn,
  runRepositoryTask,
  stanzaOwner,
} from './repository-access.ts'

const REMOVE_TIMEOUT_MS = 120_000

export async function removeStanza(platform: Platform, stanza: StanzaRow): Promise<void> {
  const { database, sealer } = platform
  const host = (await listHosts(database)).find(
    (candidate) =>
      hostState(candidate) === 'online' && candidate.facts?.programs['pgbackrest'] !== undefined,
  )
  if (host === undefined) throw new HowdahError('no-capacity', 'no host is online to remove it')
  const repository = await loadStanza(database, sealer, stanza)
  const access = accessOn(repository, {
    ...placeOn(host, stanza.cluster_id, 1),
    dataDirectory: undefined,
    patience: 'probe',
  })
  await runRepositoryTask(platform, host.id, REMOVE_TIMEOUT_MS, undefined, {
    kind: 'pgbackrest',
    repository: access,
    command: 'repo-rm',
    options: ['--recurse'],
    operands: [],
  })
  // Rows go last: until then a crash finds everything it needs to go on.
  await database.transaction(async (tx) => {
    await deleteStanza(tx, stanza)
    await deleteSecrets(tx, stanzaOwner(stanza))
  })
}

const EVERY_MS = 10_000
const BACKOFF_MS_MIN = 10_000
const BACKOFF_MS_MAX = 3_600_000

/** Apart from everything else that is done by the clock: a store that is away only waits here. */
export function startRemovals(platform: Platform): { stop(): void } {
  const later = new Map<string, { count: number; atMs: number }>()
  let isRunning = false
  const run = async () => {
    if (isRunning) return
    isRunning = true
    await removeExpired(platform, later).catch((error) =>
      platform.log.warn({ error: describeError(error) }, 'expired backups not looked at'),
    )
    isRunning = false
  }
  const timer = setInterval(() => void run(), EVERY_MS)
  return { stop: () => clearInterval(timer) }
}

/** After so many failures in a row. */
export function backoffMs(count: number): number {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.max(0, count - 1))
}

async function removeExpired(
  platform: Platform,
  later: Map<string, { count: number; atMs: number }>,
): Promise<void> {
  const stanzas = await listExpiredStanzas(platform.database)
  const groups = Map.groupBy(stanzas, ({ repository_id }) => repository_id)
  await Promise.all(
    [...groups].map(async ([repositoryId, inIt]) => {
      const { count, atMs } = later.get(repositoryId) ?? { count: 0, atMs: 0 }
      if (Date.now() < atMs) return
      try {
        for (const stanza of inIt) await removeStanza(platform, stanza)
        later.delete(repositoryId)
      } catch (error) {
        later.set(repositoryId, { count: count + 1, atMs: Date.now() + backoffMs(count + 1) })
        const said = { repository: repositoryId, error: describeError(error) }
        platform.log.warn(said, 'expired backups not removed yet')
      }
    }),
  )
}
