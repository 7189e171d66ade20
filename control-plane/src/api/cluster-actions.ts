// Owns the actions on a running cluster: POST /v1/clusters/{cluster}/<action>, each an operation.
import { OperationAccepted, Switchover } from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { Type } from 'typebox'
import { switchover } from '../operations/switchover.ts'
import { requireAvailable } from './cluster-contents.ts'
import { startOperation } from './clusters.ts'
import { mutate } from './mutation.ts'
import type { Api } from './server.ts'

const Params = Type.Object({ cluster: ResourceRef })
const tags = ['clusters']

export function registerClusterActions({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/switchover',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change the leader; clients of the pooled endpoints wait and none fails',
        params: Params,
        body: Switchover,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const to = request.body.to ?? null
        const title = `switch ${cluster.name} over${to === null ? '' : ` to ${to}`}`
        const started = await startOperation(tx, request, switchover, cluster, title, { to })
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}
