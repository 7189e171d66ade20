// howdah cluster show: instances, endpoints, parameters with the reason for each, what runs on it.
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { formatCluster } from '../cluster-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('show')
    .description('show a cluster: instances, endpoints, parameters and their reasons')
    .argument('<cluster>', 'name or id')
    .action((name: string) => showCluster(context, name))
}

async function showCluster(context: Context, name: string): Promise<void> {
  const cluster = await context.client().get<Cluster>(apiPath`/v1/clusters/${name}`)
  const output = context.output()
  await output.print(cluster, () => formatCluster(output.paint, cluster))
}
