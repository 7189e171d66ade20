// Owns asking what a cluster's archive holds where nobody need lead: any of its hosts that is
// online is asked.
import { HowdahError } from '@howdah/core/errors.ts'
import type { RepositoryAccess } from '@howdah/core/protocol.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import { type ArchiveInventory, archiveIdOf } from '@howdah/core/wal.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { type InstanceRow, listInstances } from '../db/clusters.ts'
import type { HostRow } from '../db/hosts.ts'
import { activeStanza, type StanzaRow } from '../db/repositories.ts'
import type { StepContext } from '../operations/operation.ts'
import { accessOn, loadStanza, placeOn, runRepositoryTask } from './repository-access.ts'

const LIST_TIMEOUT_MS = 60_000

export interface ArchivePlace {
  host: HostRow
  instance: InstanceRow
  stanza: StanzaRow
  repository: RenderRepository
  access: RepositoryAccess
}

/** One of the places that hold the cluster's archive, as one of its hosts reaches it. */
export async function archivePlace(step: StepContext, stanza: StanzaRow): Promise<ArchivePlace> {
  const { database, sealer, clusterId } = step
  const repository = await loadStanza(database, sealer, stanza)
  const hosts = await hostsById(database)
  for (const instance of await listInstances(database, clusterId)) {
    const host = hosts.get(instance.host_id)
    if (host?.online !== true) continue
    const access = accessOn(repository, placeOn(host, instance.id, instance.postgres_port))
    return { host, instance, stanza, repository, access }
  }
  throw new HowdahError('cluster-unreachable', 'none of its hosts is online')
}

export async function listArchiveAt(
  step: StepContext,
  { host, stanza, access }: ArchivePlace,
): Promise<ArchiveInventory> {
  return await runRepositoryTask<ArchiveInventory>(
    step,
    host.id,
    LIST_TIMEOUT_MS,
    step.operationId,
    {
      kind: 'list-archive',
      repository: access,
      archiveId: archiveIdOf(stanza.postgres_version),
    },
  )
}

/** Undefined where the cluster archives nowhere. */
export async function archiveInventory(step: StepContext): Promise<ArchiveInventory | undefined> {
  const stanza = await activeStanza(step.database, step.clusterId)
  return stanza === undefined
    ? undefined
    : await listArchiveAt(step, await archivePlace(step, stanza))
}
