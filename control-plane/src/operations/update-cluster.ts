// Applies a changed spec to a running cluster: parameters and durability live in the dcs, where
// every instance reads them. Where a parameter needs a restart, the instances are restarted one
// after the other.
import { HowdahError } from '@howdah/core/errors.ts'
import { PARAMETER_RULES, requiresRestart } from '@howdah/core/parameters.ts'
import { dynamicConfiguration } from '@howdah/core/render/patroni.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import { findLeader, type Leader, runOnLeader, statement } from '../clusters/leader-sql.ts'
import { type ClusterRow, findCluster, listInstances, setClusterState } from '../db/clusters.ts'
import { readSecrets } from '../db/secrets.ts'
import { parametersOf, SECRET } from '../hosts/render-input.ts'
import { runTask } from './agent-task.ts'
import { waitLeader } from './bring-up.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import { ROLLING_RESTART_STEPS, rollingRestart } from './rolling-restart.ts'

const MEMBER_TIMEOUT_MS = 60_000
const RELOAD_TIMEOUT_MS = 30_000

/** `restart`: a parameter that PostgreSQL reads only when it starts has another value now. */
export const updateCluster: OperationDefinition<{ restart: boolean }> = {
  kind: 'update-cluster',
  steps: [
    { name: 'change-configuration', title: 'changes the configuration in the dcs' },
    { name: 'wait-applied', title: 'waits until PostgreSQL has it' },
    ...ROLLING_RESTART_STEPS,
  ],
  async run(operation) {
    await operation.step('change-configuration', changeConfiguration)
    const restart = await operation.step('wait-applied', (step) =>
      waitApplied(step, operation.input.restart),
    )
    if (restart) await rollingRestart(operation, { kind: 'pending' })
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'available', `the last update failed: ${reason}`),
}

async function requireRow({ database, clusterId }: StepContext): Promise<ClusterRow> {
  const cluster = await findCluster(database, clusterId)
  if (cluster === undefined) throw new Error('BUG: an operation outlived its cluster')
  return cluster
}

/**
 * A null removes a key in Patroni's PATCH: whatever was set before and is not wanted now goes away.
 */
function configurationPatch(cluster: ClusterRow) {
  if (cluster.share === null) throw new Error('BUG: an available cluster has no share')
  const parameters = parametersOf(cluster.spec, cluster.share)
  const configuration = dynamicConfiguration({ spec: cluster.spec, parameters })
  const wanted = Object.fromEntries(parameters.map(({ name, value }) => [name, value]))
  const cleared = Object.fromEntries(Object.keys(PARAMETER_RULES).map((name) => [name, null]))
  return {
    ...configuration,
    postgresql: {
      ...(configuration.postgresql as Record<string, unknown>),
      parameters: { ...cleared, ...wanted },
    },
  }
}

/** The leader, or anybody whose Patroni answers: in a pause nobody leads until it is ended. */
async function findMember(step: StepContext): Promise<Leader | undefined> {
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  const answering = rows.filter((row) => (patroniOf(hosts, row)?.state ?? 'unknown') !== 'unknown')
  const instance = leaderOf(hosts, rows) ?? answering[0]
  const host = instance === undefined ? undefined : hosts.get(instance.host_id)
  return instance === undefined || host === undefined ? undefined : { instance, host }
}

export async function changeConfiguration(step: StepContext): Promise<void> {
  const cluster = await requireRow(step)
  const secrets = await readSecrets(step.database, step.sealer, cluster.id)
  await step.until([], MEMBER_TIMEOUT_MS, async () => {
    const member = await findMember(step)
    if (member === undefined) {
      await step.say('no Patroni of the cluster answers')
      return undefined
    }
    const result = await runTask<{ status: number; body: unknown }>(step, {
      hostId: member.host.id,
      operationId: step.operationId,
      timeoutMs: 10_000,
      action: {
        kind: 'patroni',
        address: member.host.address,
        port: member.instance.rest_port,
        caPem: secrets.get(SECRET.caCertificate) ?? '',
        user: 'howdah',
        password: secrets.get('rest') ?? '',
        method: 'PATCH',
        path: '/config',
        body: configurationPatch(cluster),
      },
    })
    if (result.status === 200) return true
    if (result.status < 500) {
      throw new HowdahError('agent-refused', `Patroni answered ${result.status}`)
    }
    await step.say(`Patroni answered ${result.status}`)
    return undefined
  })
}

/** Wanted and not in PostgreSQL's files, or in Patroni's part of them and not wanted (any more). */
const DIFFERENCES = `
  select key as name from pg_catalog.json_each_text($1::pg_catalog.json) wanted
  where not exists (select from pg_catalog.pg_file_settings file
    where pg_catalog.lower(file.name) = wanted.key and file.setting = wanted.value and file.applied)
  union all
  select pg_catalog.lower(file.name) from pg_catalog.pg_file_settings file
  where file.sourcefile like '%/postgresql.conf'
    and pg_catalog.lower(file.name) = any (pg_catalog.string_to_array($2, ','))`

/** A pause begins and ends when every Patroni has read of it, about a second after the dcs has. */
async function waitPause(step: StepContext, paused: boolean): Promise<void> {
  const instances = await listInstances(step.database, step.clusterId)
  const topics = instances.map((instance) => `report:${instance.host_id}`)
  await step.until(topics, RELOAD_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const late = instances.filter((row) => (patroniOf(hosts, row)?.paused ?? paused) !== paused)
    const names = late.map(({ name }) => name).join(', ')
    if (late.length === 0) return true
    await step.say(`${names}: ${paused ? 'not paused yet' : 'still paused'}`)
    return undefined
  })
}

/**
 * Returns whether an instance waits for a restart; while it is paused nothing restarts by itself.
 */
async function waitApplied(step: StepContext, restart: boolean): Promise<boolean> {
  const cluster = await requireRow(step)
  await waitPause(step, cluster.spec.maintenance)
  if (!cluster.spec.maintenance) await waitLeader(step)
  else if ((await findLeader(step, step.clusterId)) === undefined) {
    await step.say('nobody leads, and in a pause nobody will: it is applied when one does')
    return false
  }
  if (cluster.share === null) throw new Error('BUG: an available cluster has no share')
  const reloadable = parametersOf(cluster.spec, cluster.share)
    .filter(({ name }) => Object.hasOwn(PARAMETER_RULES, name) && !requiresRestart(name))
    .map(({ name, value }) => [name, value] as const)
  const wanted = new Map(reloadable)
  const gone = Object.keys(PARAMETER_RULES).filter(
    (name) => !requiresRestart(name) && !wanted.has(name),
  )
  const params = [JSON.stringify(Object.fromEntries(wanted)), gone.join(',')]
  await step.until([], RELOAD_TIMEOUT_MS, async () => {
    const rows = await runOnLeader<{ name: string }>(step, 'postgres', [
      statement(DIFFERENCES, params),
    ])
    if (rows.length === 0) return true
    await step.say(`not read yet: ${rows.map(({ name }) => name).join(', ')}`)
    return undefined
  })
  if (!restart || cluster.spec.maintenance) {
    await step.say(restart ? 'applied; a restart waits for the end of the pause' : 'applied')
    return false
  }
  const instances = await listInstances(step.database, step.clusterId)
  const topics = instances.map((instance) => `report:${instance.host_id}`)
  await step.until(topics, RELOAD_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const pending = instances.filter((row) => patroniOf(hosts, row)?.pendingRestart === true)
    await step.say(`${pending.length} of ${instances.length} instances know that they must restart`)
    return pending.length === instances.length ? true : undefined
  })
  return true
}
