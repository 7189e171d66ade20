// howdah cluster restart: restarts instances one after the other, the leader last.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags {
  instance?: string
  pending?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('restart')
    .description('restart the instances one after the other; no client fails')
    .argument('<cluster>', 'name or id')
    .option('--instance <instance>', 'only this one')
    .option('--pending', 'only instances whose parameters wait for a restart')
    .option('--rolling', 'one after the other; there is no other way, the flag is for scripts')
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => restartCluster(context, name, flags))
}

async function restartCluster(context: Context, name: string, flags: Flags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/restart`
  const body = {
    ...(flags.instance === undefined ? {} : { instance: flags.instance }),
    ...(flags.pending === true ? { pending_only: true } : {}),
  }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'was restarted' : 'is being restarted'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
