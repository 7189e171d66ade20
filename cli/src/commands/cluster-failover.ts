// howdah cluster failover: for when the leader cannot answer; refuses to lose data unless told to.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags {
  to?: string
  acceptLoss?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('failover')
    .description('change the leader when the present one cannot answer')
    .argument('<cluster>', 'name or id')
    .option('--to <instance>', 'the instance that shall lead; default: the synchronous replica')
    .option('--accept-loss', 'go on although acknowledged commits could be lost')
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => failOver(context, name, flags))
}

async function failOver(context: Context, name: string, flags: Flags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/failover`
  const body = {
    ...(flags.to === undefined ? {} : { to: flags.to }),
    ...(flags.acceptLoss === true ? { accept_loss: true } : {}),
  }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'failed over' : 'is failing over'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
