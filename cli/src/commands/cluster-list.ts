// howdah cluster list.
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { formatClusterList } from '../cluster-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('list')
    .description('list clusters')
    .option('--deleted', 'only deleted ones, which can still be brought back')
    .action((flags: { deleted?: boolean }) => listClusters(context, flags))
}

async function listClusters(context: Context, flags: { deleted?: boolean }): Promise<void> {
  const query = flags.deleted === true ? { deleted: true } : {}
  const clusters = await context.client().list<Cluster>('/v1/clusters', query)
  const output = context.output()
  await output.print(clusters, () => formatClusterList(output.paint, clusters))
}
