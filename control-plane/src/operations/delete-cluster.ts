// Deletes a cluster: stops it and leaves a tombstone with its data, or with `purge` removes all of
// it.
import { setClusterState } from '../db/clusters.ts'
import type { OperationDefinition } from './operation.ts'
import { TEAR_DOWN_STEPS, tearDown } from './tear-down.ts'

export const deleteCluster: OperationDefinition<{
  purge: boolean
  keepBackups?: boolean
}> = {
  kind: 'delete-cluster',
  steps: TEAR_DOWN_STEPS,
  run: (operation) => tearDown(operation, operation.input),
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'failed', `deletion failed: ${reason}`),
}
