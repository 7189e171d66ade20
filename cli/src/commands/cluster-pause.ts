// howdah cluster pause: switches automatic failover off, for maintenance by hand.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('pause')
    .description('nothing fails over or restarts by itself until resumed')
    .argument('<cluster>', 'name or id')
    .option(...NO_WAIT)
    .action((name: string, flags: WaitFlags) => pauseCluster(context, name, flags))
}

async function pauseCluster(context: Context, name: string, flags: WaitFlags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/pause`
  const { data } = await context.client().request<OperationAccepted>('POST', path)
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is paused' : 'is being paused'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
