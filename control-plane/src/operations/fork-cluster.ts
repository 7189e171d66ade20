// Makes a new cluster from another one's backups: as it was at a moment, with keys, passwords and a
// place in the repository of its own. The source is only read; it may be long gone.
import { scramVerifier } from '@howdah/core/scram.ts'
import { inOneTransaction, runOnLeader, statement } from '../clusters/leader-sql.ts'
import { setClusterState } from '../db/clusters.ts'
import { readSecret } from '../db/secrets.ts'
import { BRING_UP_STEPS, bringUp, ensureLoginRole } from './bring-up.ts'
import { DEFAULT_ROLE } from './create-cluster.ts'
import { chooseFirst, ownPasswords, placeOfInstance, startFirst } from './first-instance.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { issueSecrets, place } from './place.ts'
import { fetchBackup, type RecoveryInput, reachOfArchive, replay } from './recover-steps.ts'
import { TEAR_DOWN_STEPS, tearDown } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

export interface ForkInput extends RecoveryInput {
  /** Still there, so that what it wrote last can be had. */
  sourceId: string | null
}

export const forkCluster: OperationDefinition<ForkInput> = {
  kind: 'fork-cluster',
  steps: [
    { name: 'place', title: 'chooses hosts and ports' },
    { name: 'issue-secrets', title: 'generates passwords and certificates' },
    { name: 'archive-present', title: 'has the source archive what it wrote last' },
    { name: 'choose', title: 'chooses the instance that is restored first' },
    { name: 'fetch', title: 'fetches the backup' },
    { name: 'replay', title: 'replays WAL up to the moment' },
    { name: 'start-leader', title: 'starts the instance that has the data' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    const { step, input } = operation
    await step('place', place)
    await step('issue-secrets', issueSecrets)
    const must = await step('archive-present', (context) =>
      reachOfArchive(context, input, input.sourceId),
    )
    const first = await step('choose', (context) => chooseFirst(context, input))
    await step('fetch', async (context) =>
      fetchBackup(context, input, await placeOfInstance(context, first)),
    )
    await step('replay', async (context) => {
      const statements = await ownPasswords(context)
      const at = await placeOfInstance(context, first)
      await replay(context, input, at, { statements, amcheck: false, ...must })
    })
    await step('start-leader', (context) => startFirst(context, first))
    await bringUp(operation, prepareFork)
  },
  undo: {
    steps: TEAR_DOWN_STEPS,
    run: (operation) => tearDown(operation, { purge: true }),
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'failed', `the fork failed: ${reason}`),
}

/** Settings of its own: the data directory remembers the source's. */
async function prepareFork(step: StepContext): Promise<void> {
  await changeConfiguration(step)
  const password = await readSecret(
    step.database,
    step.sealer,
    step.clusterId,
    `role:${DEFAULT_ROLE}`,
  )
  if (password === undefined) throw new Error('BUG: the first password is made with the cluster')
  await runOnLeader(
    step,
    'postgres',
    inOneTransaction(ensureLoginRole(DEFAULT_ROLE, scramVerifier(password))),
  )
  await runOnLeader(step, 'postgres', [statement('delete from howdah.canary')])
}
