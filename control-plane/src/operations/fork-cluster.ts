// Makes a new cluster from another one's backups: as it was at a moment, with keys, passwords and a
// place in the repository of its own. The source is only read; it may be long gone.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { scramVerifier } from '@howdah/core/scram.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import { findCluster, listInstances, setClusterState, setInstanceActive } from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import { readSecret, readSecrets } from '../db/secrets.ts'
import { BRING_UP_STEPS, bringUp, ensureLoginRole, prepareDcs, waitLeader } from './bring-up.ts'
import { DEFAULT_ROLE } from './create-cluster.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { issueSecrets, place } from './place.ts'
import {
  archivePresent,
  fetchBackup,
  type RecoveryInput,
  type RecoveryPlaceOnHost,
  replay,
} from './recover-steps.ts'
import { TEAR_DOWN_STEPS, tearDown } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

export interface ForkInput extends RecoveryInput {
  /** Still there, so that what it wrote last can be had. */
  sourceId: string | null
  /** What was last seen in the repository. */
  archivedLsn: string | null
}

export const forkCluster: OperationDefinition<ForkInput> = {
  kind: 'fork-cluster',
  steps: [
    { name: 'place', title: 'chooses hosts and ports' },
    { name: 'issue-secrets', title: 'generates passwords and certificates' },
    { name: 'archive-present', title: 'has the source archive what it wrote last' },
    { name: 'fetch', title: 'fetches the backup' },
    { name: 'replay', title: 'replays WAL up to the moment' },
    { name: 'start-leader', title: 'starts the instance that has the data' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    const { step, input } = operation
    await step('place', place)
    await step('issue-secrets', issueSecrets)
    const minimumLsn = await step('archive-present', (context) => archiveIfThere(context, input))
    await step('fetch', async (context) =>
      fetchBackup(context, input, await firstInstance(context)),
    )
    await step('replay', async (context) => {
      const statements = await ownPasswords(context)
      const at = await firstInstance(context)
      await replay(context, input, at, { statements, amcheck: false, minimumLsn })
    })
    await step('start-leader', startFirst)
    await bringUp(operation, { isNew: false }, prepareFork)
  },
  undo: {
    steps: TEAR_DOWN_STEPS,
    run: (operation) => tearDown(operation, { purge: true }),
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'failed', `the fork failed: ${reason}`),
}

/** Returns what a replay to the end must reach; null when nobody knows. */
async function archiveIfThere(
  step: StepContext,
  { sourceId, archivedLsn }: ForkInput,
): Promise<string | null> {
  if (sourceId === null) {
    await step.say('the source is gone: what it archived is there')
    return archivedLsn
  }
  try {
    return await archivePresent(step, sourceId)
  } catch (error) {
    await step.say(`goes on with what is archived: ${describeError(error)}`)
    return archivedLsn
  }
}

/** Where the data is fetched to; the others copy it from there. */
export async function firstInstance(step: StepContext): Promise<RecoveryPlaceOnHost> {
  const instance = (await listInstances(step.database, step.clusterId))[0]
  const cluster = await findCluster(step.database, step.clusterId)
  const host = (await hostsById(step.database)).get(instance?.host_id ?? '')
  if (instance === undefined || host === undefined || cluster === undefined) {
    throw new Error('BUG: a placed cluster has an instance')
  }
  const binDirectory = host.facts?.postgresql[cluster.spec.postgres_version]
  if (binDirectory === undefined) {
    const said = `PostgreSQL ${cluster.spec.postgres_version} is not on ${host.name}`
    throw new HowdahError('no-such-version', said)
  }
  return { host, name: instance.id, port: instance.postgres_port, binDirectory }
}

/** Of what Patroni logs in with: it sets them only where it made the database itself. */
export async function ownPasswords(step: StepContext): Promise<Statement[]> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const { superuser, replication, rewind } = PLATFORM_ROLES
  return (
    [
      ['superuser', superuser],
      ['replication', replication],
      ['rewind', rewind],
    ] as const
  ).flatMap(([secret, role]) => ensureLoginRole(role, scramVerifier(secrets.get(secret) ?? '')))
}

/** Alone: an instance without data would make an empty database if it came first. */
export async function startFirst(step: StepContext): Promise<void> {
  await prepareDcs(step)
  const first = (await listInstances(step.database, step.clusterId))[0]
  if (first === undefined) throw new Error('BUG: a placed cluster has an instance')
  await step.database.transaction(async (tx) => {
    await setInstanceActive(tx, first.id, true)
    await touchHosts(tx, [first.host_id])
  })
  await waitLeader(step)
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
  await runOnLeader(step, 'postgres', ensureLoginRole(DEFAULT_ROLE, scramVerifier(password)))
  await runOnLeader(step, 'postgres', [statement('delete from howdah.canary')])
}
