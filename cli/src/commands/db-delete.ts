// howdah db delete: after the name was typed, because its data is gone with it.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface DeleteFlags extends WaitFlags, ConfirmFlags {}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'db')
    .command('delete')
    .description('delete a database and everything in it')
    .argument('<cluster>', 'name or id')
    .argument('<database>')
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name of the database, instead of typing it')
    .option(...NO_WAIT)
    .action((cluster: string, database: string, flags: DeleteFlags) =>
      deleteDatabase(context, cluster, database, flags),
    )
}

async function deleteDatabase(
  context: Context,
  cluster: string,
  database: string,
  flags: DeleteFlags,
): Promise<void> {
  const consequence = `this removes database ${database} of cluster ${cluster} for good`
  await confirmName(context, flags, { name: database, consequence })
  const path = apiPath`/v1/clusters/${cluster}/databases/${database}`
  const { data } = await context.client().request<OperationAccepted>('DELETE', path)
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is deleted' : 'is being deleted'
  await context.output().print(data, () => [`database ${safeLine(database)} ${said}`])
}
