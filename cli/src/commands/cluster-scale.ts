// howdah cluster scale: adds, removes and replaces instances while clients go on.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { type Command, Option } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../option-values.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags {
  instances: number
  remove?: string[]
  from?: string
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('scale')
    .description('change how many instances there are, or replace some')
    .argument('<cluster>', 'name or id')
    .requiredOption('--instances <count>', 'how many there shall be, 1 to 5', parseCount(1, 5))
    .option('--remove <instance...>', 'the ones that leave; default: the last replicas')
    .addOption(
      new Option('--from <source>', 'what new ones are made from; default: what is faster').choices(
        ['backup', 'leader'],
      ),
    )
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => scaleCluster(context, name, flags))
}

async function scaleCluster(context: Context, name: string, flags: Flags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/scale`
  const body = {
    instances: flags.instances,
    ...(flags.remove === undefined ? {} : { remove: flags.remove }),
    ...(flags.from === undefined ? {} : { source: flags.from }),
  }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'was scaled' : 'is being scaled'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
