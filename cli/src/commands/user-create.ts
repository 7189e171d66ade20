// howdah user create. A user logs in with tokens: howdah token create makes one.
import type { User, UserRole } from '@howdah/core/contract/users.ts'
import { type Command, Option } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface CreateFlags {
  role: UserRole
  fullName?: string
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'user')
    .command('create')
    .description('create a user')
    .argument('<name>', 'lower-case letters, digits and . _ @ + -')
    .addOption(userRoleOption().makeOptionMandatory())
    .option('--full-name <text>', 'for people')
    .action((name: string, flags: CreateFlags) => createUser(context, name, flags))
}

export function userRoleOption(): Option {
  const about = 'administrator: everything; operator: clusters and what is in them; viewer: reads'
  return new Option('--role <role>', about).choices(['administrator', 'operator', 'viewer'])
}

async function createUser(context: Context, name: string, flags: CreateFlags): Promise<void> {
  const body = { name, role: flags.role, full_name: flags.fullName }
  const { data } = await context.client().request<User>('POST', '/v1/users', { body })
  await context
    .output()
    .print(data, () => [
      `user ${safeLine(data.name)} is created; a token for it:`,
      `  howdah token create NAME --user ${safeLine(data.name)}`,
    ])
}
