// Creates a cluster: from a row in the database to a committed write through its write endpoint.
import { scramVerifier } from '@howdah/core/scram.ts'
import { inOneTransaction, runOnLeader } from '../clusters/leader-sql.ts'
import { setClusterState } from '../db/clusters.ts'
import { readSecret } from '../db/secrets.ts'
import { BRING_UP_STEPS, bringUp, ensureLoginRole } from './bring-up.ts'
import { ensureDatabase } from './create-database.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { issueSecrets, place } from './place.ts'
import { TEAR_DOWN_STEPS, tearDown } from './tear-down.ts'

/** What a new cluster has for its first application. */
export const DEFAULT_DATABASE = 'app'
export const DEFAULT_ROLE = 'app'

export const createCluster: OperationDefinition<Record<string, never>> = {
  kind: 'create-cluster',
  steps: [
    { name: 'place', title: 'chooses hosts and ports' },
    { name: 'issue-secrets', title: 'generates passwords and certificates' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    await operation.step('place', place)
    await operation.step('issue-secrets', issueSecrets)
    await bringUp(operation, createDefaults)
  },
  undo: {
    steps: TEAR_DOWN_STEPS,
    run: (operation) => tearDown(operation, { purge: true }),
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'failed', `creation failed: ${reason}`),
}

async function createDefaults(step: StepContext): Promise<void> {
  const secret = `role:${DEFAULT_ROLE}`
  const password = await readSecret(step.database, step.sealer, step.clusterId, secret)
  if (password === undefined) throw new Error('BUG: the first password is made with the cluster')
  await runOnLeader(
    step,
    'postgres',
    inOneTransaction(ensureLoginRole(DEFAULT_ROLE, scramVerifier(password))),
  )
  await ensureDatabase(step, DEFAULT_DATABASE, DEFAULT_ROLE)
}
