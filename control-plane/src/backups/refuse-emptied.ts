// Owns the refusal of a place that has lost all it held. A disk that is not mounted looks like
// that, and whoever began anew there would write to the wrong one, and forget the backups on the
// right one.
import type { RepositoryAnswer } from '@howdah/core/backup-info.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Queryable } from '../database.ts'
import { listBackups } from '../db/backups.ts'
import type { StanzaRow } from '../db/repositories.ts'
import { EMPTIED } from './archive-status.ts'

const WHAT_TO_DO =
  'mount what is not mounted; if it was emptied on purpose, have the cluster backed up ' +
  'elsewhere: howdah cluster change-repository'

/** Throws `repository-failed`. Asks only where backups are known: a new place is empty. */
export async function refuseEmptied(
  db: Queryable,
  stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>,
  ask: () => Promise<Pick<RepositoryAnswer, 'isThere'>>,
): Promise<void> {
  const rows = await listBackups(db, stanza.cluster_id)
  if (!rows.some(({ repository_id }) => repository_id === stanza.repository_id)) return
  if ((await ask()).isThere) return
  throw new HowdahError('repository-failed', `${EMPTIED}; ${WHAT_TO_DO}`)
}
