// howdah backup create: takes a backup now, and follows it.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { type Command, Option } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseRate } from '../option-values.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags {
  type?: string
  throttle?: number
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('create')
    .description('take a backup now')
    .argument('<cluster>', 'name or id')
    .addOption(
      new Option('--type <type>', 'default: what changed since the last one').choices([
        'full',
        'differential',
        'incremental',
      ]),
    )
    .option('--throttle <rate>', 'read no faster than this, e.g. 20MB/s', parseRate)
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => createBackup(context, name, flags))
}

async function createBackup(context: Context, name: string, flags: Flags): Promise<void> {
  const body = {
    ...(flags.type === undefined ? {} : { type: flags.type }),
    ...(flags.throttle === undefined ? {} : { throttle_bytes_per_second: flags.throttle }),
  }
  const path = apiPath`/v1/clusters/${name}/backups`
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is backed up' : 'is being backed up'
  await context
    .output()
    .print(data, () => [
      `cluster ${safeLine(name)} ${said}; see howdah backup list ${safeLine(name)}`,
    ])
}
