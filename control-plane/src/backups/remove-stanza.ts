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

export async function removeExpired(platform: Platform): Promise<void> {
  for (const stanza of await listExpiredStanzas(platform.database)) {
    await removeStanza(platform, stanza).catch((error) =>
      platform.log.warn(
        { cluster: stanza.cluster_id, error: describeError(error) },
        'expired backups not removed yet',
      ),
    )
  }
}
