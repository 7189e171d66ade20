// howdah cluster undelete: brings a deleted cluster back while its data is kept.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('undelete')
    .description('bring a deleted cluster back')
    .argument('<cluster>', 'name or id; howdah cluster list --deleted shows them')
    .option(...NO_WAIT)
    .action((name: string, flags: WaitFlags) => undeleteCluster(context, name, flags))
}

async function undeleteCluster(context: Context, name: string, flags: WaitFlags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/undelete`
  const { data } = await context.client().request<OperationAccepted>('POST', path)
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is back' : 'is being brought back'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
