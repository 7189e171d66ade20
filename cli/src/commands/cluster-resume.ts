// howdah cluster resume: switches automatic failover on again.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('resume')
    .description('end a pause')
    .argument('<cluster>', 'name or id')
    .option(...NO_WAIT)
    .action((name: string, flags: WaitFlags) => resumeCluster(context, name, flags))
}

async function resumeCluster(context: Context, name: string, flags: WaitFlags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/resume`
  const { data } = await context.client().request<OperationAccepted>('POST', path)
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is resumed' : 'is being resumed'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
