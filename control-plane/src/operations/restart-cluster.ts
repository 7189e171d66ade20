// Restarts a cluster's instances, or one of them, without a failed transaction through the pooled
// endpoints.
import type { OperationDefinition } from './operation.ts'
import { type RestartScope, ROLLING_RESTART_STEPS, rollingRestart } from './rolling-restart.ts'

export const restartCluster: OperationDefinition<{ scope: RestartScope }> = {
  kind: 'restart-cluster',
  steps: ROLLING_RESTART_STEPS,
  run: (operation) => rollingRestart(operation, operation.input.scope),
}
