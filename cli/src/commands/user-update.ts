// howdah user update.
import type { User, UserRole } from '@howdah/core/contract/users.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'
import { userRoleOption } from './user-create.ts'

interface UpdateFlags {
  role?: UserRole
  fullName?: string
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'user')
    .command('update')
    .description("change a user's role or full name")
    .argument('<user>', 'name or id')
    .addOption(userRoleOption())
    .option('--full-name <text>', 'for people')
    .action((name: string, flags: UpdateFlags) => updateUser(context, name, flags))
}

async function updateUser(context: Context, name: string, flags: UpdateFlags): Promise<void> {
  if (flags.role === undefined && flags.fullName === undefined) {
    throw new HowdahError('bad-request', 'nothing to change was given', {
      extra: { hint: 'give --role or --full-name' },
    })
  }
  const client = context.client()
  const path = apiPath`/v1/users/${name}`
  const { data: user, etag } = await client.request<User>('GET', path)
  const body = { role: flags.role, full_name: flags.fullName }
  const ifMatch = etag === '' ? user.version : etag
  const { data } = await client.request<User>('PATCH', path, { body, ifMatch })
  await context.output().print(data, () => [`user ${safeLine(user.name)} is updated`])
}
