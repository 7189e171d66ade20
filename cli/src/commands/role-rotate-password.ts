// howdah role rotate-password: a new generated password, shown once and kept for psql and uri.
import type { Cluster, RoleAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { formatCredentials } from '../cluster-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { saveCredentials } from '../credentials-file.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'role')
    .command('rotate-password')
    .description('give a role a new password; it is shown once')
    .argument('<cluster>', 'name or id')
    .argument('<role>')
    .option(...NO_WAIT)
    .action((cluster: string, role: string, flags: WaitFlags) =>
      rotatePassword(context, cluster, role, flags),
    )
}

async function rotatePassword(
  context: Context,
  cluster: string,
  role: string,
  flags: WaitFlags,
): Promise<void> {
  const client = context.client()
  const owner = await client.get<Cluster>(apiPath`/v1/clusters/${cluster}`)
  const path = apiPath`/v1/clusters/${cluster}/roles/${role}/rotate-password`
  const { data } = await client.request<RoleAccepted>('POST', path)
  const { credentials } = data
  // Kept before it is followed: if the operation fails, the password may have changed already.
  if (credentials !== undefined) await saveCredentials(context.home(), owner, credentials)
  const isDone = await finishAccepted(context, data, flags)
  const output = context.output()
  await output.print(data, () => [
    `role ${safeLine(role)} ${isDone ? 'has' : 'gets'} a new password`,
    ...(credentials === undefined ? [] : formatCredentials(output.paint, credentials)),
  ])
}
