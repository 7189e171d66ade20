// howdah cluster delete: after the name was typed. Without --purge the cluster can be brought back.
import type { Cluster, ClusterDelete, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath, type Body } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { forgetCluster } from '../credentials-file.ts'

interface DeleteFlags extends WaitFlags, ConfirmFlags {
  purge?: boolean
  keepBackups?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('delete')
    .description('delete a cluster; its data is kept for undelete unless --purge')
    .argument('<cluster>', 'name or id')
    .option('--purge', 'remove the data at once: there is no undo')
    .option('--keep-backups', 'with --purge: its backups stay for as long as its policy says')
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name of the cluster, instead of typing it')
    .option(...NO_WAIT)
    .action((name: string, flags: DeleteFlags) => deleteCluster(context, name, flags))
}

async function deleteCluster(context: Context, name: string, flags: DeleteFlags): Promise<void> {
  const client = context.client()
  const path = apiPath`/v1/clusters/${name}`
  const { data: cluster, etag } = await client.request<Cluster>('GET', path)
  const isPurge = flags.purge === true
  const consequence = isPurge
    ? `this removes cluster ${cluster.name} and all its data for good`
    : `this stops cluster ${cluster.name}; its data is kept for a while, for undelete`
  await confirmName(context, flags, { name: cluster.name, consequence })
  const body: Body<ClusterDelete> = {
    confirm: cluster.name,
    purge: isPurge ? true : undefined,
    keep_backups: flags.keepBackups,
  }
  const ifMatch = etag === '' ? cluster.version : etag
  const { data } = await client.request<OperationAccepted>('DELETE', path, { body, ifMatch })
  const isDone = await finishAccepted(context, data, flags)
  if (isDone && isPurge) await forgetCluster(context.home(), cluster.name)
  await context
    .output()
    .print(data, () => [
      `cluster ${cluster.name} ${isDone ? 'is deleted' : 'is being deleted'}`,
      ...(isPurge ? [] : [`bring it back with: howdah cluster undelete ${cluster.name}`]),
    ])
}
