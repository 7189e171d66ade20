// Owns the last look at the archive of a cluster that is about to stop for good. Nobody can look
// later: what was written then is on no leader's word any more, and only this tells a fork whether
// the archive ends where the cluster did.
import { describeError } from '@howdah/core/errors.ts'
import { findCluster, listInstances } from '../db/clusters.ts'
import { activeStanza, storeStanzaStatus } from '../db/repositories.ts'
import type { StepContext } from '../operations/operation.ts'
import { lookAtArchive } from './archive-look.ts'
import { continueStatus } from './archive-news.ts'
import { NOTHING_SEEN, parseStatus } from './archive-status.ts'

/** Keeps what it saw, also that it saw nothing. A run that finds all stopped changes nothing. */
export async function lookLast(step: StepContext): Promise<void> {
  const { database, clusterId } = step
  const cluster = await findCluster(database, clusterId)
  const stanza = await activeStanza(database, clusterId)
  const isStopped = (await listInstances(database, clusterId)).every(({ active }) => !active)
  if (cluster === undefined || stanza === undefined || isStopped) return
  await step.say('looks at the archive for the last time')
  const before = parseStatus(stanza.status) ?? NOTHING_SEEN
  const seen = await lookAtArchive(step, cluster, stanza, before).catch((error: unknown) => ({
    ...before,
    error: describeError(error).slice(0, 1000),
  }))
  const now = continueStatus(before, seen, new Date().toISOString())
  await storeStanzaStatus(database, stanza, now)
}
