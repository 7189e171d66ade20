// howdah user delete: the user's tokens stop working at once.
import type { User } from '@howdah/core/contract/users.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'user')
    .command('delete')
    .description('delete a user; its tokens stop working at once')
    .argument('<user>', 'name or id')
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name of the user, instead of typing it')
    .action((name: string, flags: ConfirmFlags) => deleteUser(context, name, flags))
}

async function deleteUser(context: Context, name: string, flags: ConfirmFlags): Promise<void> {
  const client = context.client()
  const path = apiPath`/v1/users/${name}`
  const { data: user, etag } = await client.request<User>('GET', path)
  const consequence = `this deletes user ${user.name}; its tokens stop working at once`
  await confirmName(context, flags, { name: user.name, consequence })
  const ifMatch = etag === '' ? user.version : etag
  const { data } = await client.request<unknown>('DELETE', path, { ifMatch })
  await context.output().print(data ?? {}, () => [`user ${safeLine(user.name)} is deleted`])
}
