// Owns POST /v1/clusters/{cluster}/repository: a cluster is backed up elsewhere from now on.
import { RepositoryChange } from '@howdah/core/contract/backups.ts'
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import { assignRepository } from '../backups/repository-access.ts'
import { lockCluster } from '../db/clusters.ts'
import { refuseSecond } from '../db/operations.ts'
import { findRepository, findStanzas } from '../db/repositories.ts'
import { type ChangeRepositoryInput, changeRepository } from '../operations/change-repository.ts'
import type { Api } from './app.ts'
import { requireAvailable } from './cluster-contents.ts'
import { startOperation } from './clusters.ts'
import { mutate } from './mutation.ts'

const Params = Type.Object({ cluster: ResourceRef })

export function registerRepositoryChanges({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/repository',
    {
      config: { access: 'operate' },
      schema: {
        tags: ['backups'],
        summary: 'Archive and back up to another repository; the old one is kept for its time',
        params: Params,
        body: RepositoryChange,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        await lockCluster(tx, cluster.id)
        const wanted = request.body.repository
        const repository = await findRepository(tx, wanted)
        if (repository === undefined) {
          throw new HowdahError('not-found', `there is no repository ${wanted}`)
        }
        await refuseSecond(tx, cluster.id, 'backup')
        // One that it left holds an archive that ends: it cannot go on there.
        const stanzas = await findStanzas(tx, cluster.id)
        if (stanzas.some(({ repository_id }) => repository_id === repository.id)) {
          const said = `${repository.name} holds backups of ${cluster.name} already`
          throw new HowdahError('wrong-state', said)
        }
        const restart = stanzas.every(({ retired_at }) => retired_at !== null)
        if (restart && cluster.spec.maintenance) {
          const said = `cluster ${cluster.name} is paused, and has to restart to archive`
          throw new HowdahError('wrong-state', said)
        }
        // Restarts are a change of the cluster like any other: one at a time.
        const lane = restart ? 'cluster' : 'backup'
        await assignRepository(tx, platform.sealer, cluster, repository.id, true)
        const input: ChangeRepositoryInput = { repositoryId: repository.id, restart }
        const title = `have ${cluster.name} backed up to ${repository.name}`
        const definition = { ...changeRepository, lane } as const
        const started = await startOperation(tx, request, definition, cluster, title, input)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}
