// howdah cluster change-repository: has a cluster backed up elsewhere, without a gap in between.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('change-repository')
    .description('back a cluster up elsewhere; what the old repository has can still be restored')
    .argument('<cluster>', 'name or id')
    .argument('<repository>', 'of howdah repo list')
    .option(...NO_WAIT)
    .action((name: string, repository: string, flags: WaitFlags) =>
      changeRepository(context, name, repository, flags),
    )
}

async function changeRepository(
  context: Context,
  name: string,
  repository: string,
  flags: WaitFlags,
): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/repository`
  const body = { repository }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is backed up to' : 'will be backed up to'
  await context
    .output()
    .print(data, () => [`cluster ${safeLine(name)} ${said} ${safeLine(repository)}`])
}
