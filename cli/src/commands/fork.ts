// howdah fork: a moment of a cluster as a new cluster. The first one is not touched.
import type { RestorePlan } from '@howdah/core/contract/backups.ts'
import type { Cluster, ClusterAccepted } from '@howdah/core/contract/clusters.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { formatPlan } from '../backup-view.ts'
import { formatCredentials, formatEndpoints } from '../cluster-view.ts'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { saveCredentials } from '../credentials-file.ts'
import { parseCount } from '../option-values.ts'
import { formatHeading } from '../output.ts'
import { type RecoveryFlags, recoveryBody, recoveryOptions } from '../recovery-options.ts'

interface Flags extends WaitFlags, RecoveryFlags {
  as: string
  instances?: number
}

export function register(program: Command, context: Context): void {
  const command = program
    .command('fork')
    .helpGroup(HELP_GROUPS.clusters)
    .description('make a new cluster from the backups of another, as it was at a moment')
    .argument('<cluster>', 'name or id; it may be deleted')
    .requiredOption('--as <name>', 'the name of the new cluster')
  recoveryOptions(command)
    .option(
      '--instances <count>',
      'default: as many as it has; 3 where it is gone',
      parseCount(1, 5),
    )
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => fork(context, name, flags))
}

async function fork(context: Context, name: string, flags: Flags): Promise<void> {
  const client = context.client()
  const path = apiPath`/v1/clusters/${name}/fork`
  const body = {
    name: parseResourceName(flags.as),
    ...recoveryBody(flags),
    ...(flags.instances === undefined ? {} : { instances: flags.instances }),
  }
  const { paint } = context.output()
  if (flags.plan === true) {
    const { data } = await client.request<RestorePlan>('POST', path, { body })
    return await context.output().print(data, () => formatPlan(paint, data))
  }
  const { data } = await client.request<ClusterAccepted>('POST', path, { body })
  // Before anything can fail: the password is in this reply and in no other.
  if (data.credentials !== undefined) {
    const savedTo = await saveCredentials(context.home(), data.cluster, data.credentials)
    context.output().note(`credentials are kept in ${savedTo}`)
  }
  const isDone = await finishAccepted(context, data, flags)
  const cluster = isDone
    ? await client.get<Cluster>(apiPath`/v1/clusters/${data.cluster.id}`)
    : data.cluster
  await context
    .output()
    .print({ ...data, cluster }, () => [
      ...(cluster.endpoints.length > 0 ? formatEndpoints(paint, cluster) : []),
      ...(data.credentials === undefined
        ? []
        : [...formatHeading(paint, 'Credentials'), ...formatCredentials(paint, data.credentials)]),
    ])
}
