// howdah backup delete: removes a backup, and those that need it.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags, ConfirmFlags {}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('delete')
    .description('remove a backup, and those that need it')
    .argument('<cluster>', 'name or id')
    .argument('<backup>', 'id or label')
    .option('--yes', 'do not ask')
    .option('--confirm <backup>', 'the id or label again, instead of typing it')
    .option(...NO_WAIT)
    .action((name: string, backup: string, flags: Flags) =>
      deleteBackup(context, name, backup, flags),
    )
}

async function deleteBackup(context: Context, name: string, backup: string, flags: Flags) {
  const consequence = `this removes backup ${backup} of ${name}, and those that need it`
  await confirmName(context, flags, { name: backup, consequence })
  const path = apiPath`/v1/clusters/${name}/backups/${backup}`
  const { data } = await context.client().request<OperationAccepted>('DELETE', path)
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is removed' : 'is being removed'
  await context.output().print(data, () => [`backup ${safeLine(backup)} ${said}`])
}
