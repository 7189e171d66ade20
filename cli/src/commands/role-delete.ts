// howdah role delete.
import type { Cluster, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { forgetRole } from '../credentials-file.ts'
import { safeLine } from '../safe-text.ts'

interface DeleteFlags extends WaitFlags, ConfirmFlags {}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'role')
    .command('delete')
    .description('delete a role; applications that use it can no longer log in')
    .argument('<cluster>', 'name or id')
    .argument('<role>')
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name of the role, instead of typing it')
    .option(...NO_WAIT)
    .action((cluster: string, role: string, flags: DeleteFlags) =>
      deleteRole(context, cluster, role, flags),
    )
}

async function deleteRole(
  context: Context,
  cluster: string,
  role: string,
  flags: DeleteFlags,
): Promise<void> {
  const consequence = `applications that use role ${role} of ${cluster} can no longer log in`
  await confirmName(context, flags, { name: role, consequence })
  const client = context.client()
  const owner = await client.get<Cluster>(apiPath`/v1/clusters/${cluster}`)
  const path = apiPath`/v1/clusters/${cluster}/roles/${role}`
  const { data } = await client.request<OperationAccepted>('DELETE', path)
  const isDone = await finishAccepted(context, data, flags)
  if (isDone) await forgetRole(context.home(), owner, role)
  const said = isDone ? 'is deleted' : 'is being deleted'
  await context.output().print(data, () => [`role ${safeLine(role)} ${said}`])
}
