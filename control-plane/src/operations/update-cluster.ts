// Applies a changed spec to a running cluster: parameters and durability live in the dcs, where every instance
// reads them. Parameters that need a restart are applied at the next one; the step names them.

import { HowdahError } from '@howdah/core/errors.ts'
import { PARAMETER_RULES, requiresRestart } from '@howdah/core/parameters.ts'
import { dynamicConfiguration } from '@howdah/core/render/patroni.ts'
import { findLeader, runOnLeader, statement } from '../clusters/leader-sql.ts'
import { type ClusterRow, findCluster, setClusterState } from '../db/clusters.ts'
import { readSecrets } from '../db/secrets.ts'
import { parametersOf, SECRET } from '../hosts/render-input.ts'
import { runTask } from './agent-task.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const LEADER_TIMEOUT_MS = 60_000
const RELOAD_TIMEOUT_MS = 30_000

export const updateCluster: OperationDefinition<Record<string, never>> = {
  kind: 'update-cluster',
  steps: [
    { name: 'change-configuration', title: 'changes the configuration in the dcs' },
    { name: 'wait-applied', title: 'waits until PostgreSQL has it' },
  ],
  async run({ step }) {
    await step('change-configuration', changeConfiguration)
    await step('wait-applied', waitApplied)
  },
  failed: ({ database }, clusterId, reason) =>
    setClusterState(database, clusterId, 'available', `the last update failed: ${reason}`),
}

async function requireRow({ database, clusterId }: StepContext): Promise<ClusterRow> {
  const cluster = await findCluster(database, clusterId)
  if (cluster === undefined) throw new Error('BUG: an operation outlived its cluster')
  return cluster
}

/** A null removes a key in Patroni's PATCH: whatever was set before and is not wanted now goes away. */
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

async function changeConfiguration(step: StepContext): Promise<void> {
  const cluster = await requireRow(step)
  const secrets = await readSecrets(step.database, step.sealer, cluster.id)
  await step.until([], LEADER_TIMEOUT_MS, async () => {
    const leader = await findLeader(step, cluster.id)
    if (leader === undefined) return undefined
    const result = await runTask<{ status: number; body: unknown }>(step, {
      hostId: leader.host.id,
      operationId: step.operationId,
      timeoutMs: 10_000,
      action: {
        kind: 'patroni',
        address: leader.host.address,
        port: leader.instance.rest_port,
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

async function waitApplied(step: StepContext): Promise<void> {
  const cluster = await requireRow(step)
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
  const pending = Object.keys(cluster.spec.parameters).filter(requiresRestart)
  await step.say(
    pending.length === 0 ? 'applied' : `applied; a restart is needed for ${pending.join(', ')}`,
  )
}
