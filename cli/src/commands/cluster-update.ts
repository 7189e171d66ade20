// howdah cluster update: changes what is named and keeps the rest; two changes at once cannot
// overwrite each other, because the change is based on the version that was read.
import type { Cluster, ClusterUpdate, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath, type Body } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { collectPair, collectText } from '../option-values.ts'
import { durabilityOption, sensitivityOption } from './cluster-create.ts'

interface UpdateFlags extends WaitFlags {
  durability?: ClusterUpdate['durability']
  sensitivity?: ClusterUpdate['sensitivity']
  parameter?: Record<string, string>
  resetParameter?: string[]
  label?: Record<string, string>
  removeLabel?: string[]
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('update')
    .description('change parameters, durability, sensitivity or labels')
    .argument('<cluster>', 'name or id')
    .option('--parameter <name=value>', 'PostgreSQL parameter; repeatable', collectPair)
    .option('--reset-parameter <name>', 'back to the sized value; repeatable', collectText)
    .addOption(durabilityOption())
    .addOption(sensitivityOption())
    .option('--label <key=value>', 'free text for people; repeatable', collectPair)
    .option('--remove-label <key>', 'repeatable', collectText)
    .option(...NO_WAIT)
    .action((name: string, flags: UpdateFlags) => updateCluster(context, name, flags))
}

async function updateCluster(context: Context, name: string, flags: UpdateFlags): Promise<void> {
  const { parameter, resetParameter, label, removeLabel, durability, sensitivity } = flags
  if (!(parameter || resetParameter || label || removeLabel || durability || sensitivity)) {
    throw new HowdahError('bad-request', 'nothing to change was given', {
      extra: {
        hint:
          'give --parameter, --reset-parameter, --durability, --sensitivity, --label ' +
          'or --remove-label',
      },
    })
  }
  const client = context.client()
  const path = apiPath`/v1/clusters/${name}`
  const { data: cluster, etag } = await client.request<Cluster>('GET', path)
  const body: Body<ClusterUpdate> = {
    durability,
    sensitivity,
    parameters: merge(cluster.spec.parameters, parameter, resetParameter),
    labels: merge(cluster.spec.labels, label, removeLabel),
  }
  const ifMatch = etag === '' ? cluster.version : etag
  const { data } = await client.request<OperationAccepted>('PATCH', path, { body, ifMatch })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is updated' : 'is being updated'
  await context.output().print(data, () => [`cluster ${cluster.name} ${said}`])
}

/** undefined when neither is given: the platform then keeps what it has. */
function merge<Value>(
  present: Record<string, Value>,
  changes: Record<string, Value> | undefined,
  removed: string[] | undefined,
): Record<string, Value> | undefined {
  if (changes === undefined && removed === undefined) return undefined
  const all = [...Object.entries(present), ...Object.entries(changes ?? {})]
  return Object.fromEntries(all.filter(([key]) => !(removed ?? []).includes(key)))
}
