// howdah user list.
import type { User } from '@howdah/core/contract/users.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatAge, formatTable } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'user')
    .command('list')
    .description('list users')
    .action(() => listUsers(context))
}

async function listUsers(context: Context): Promise<void> {
  const users = await context.client().list<User>('/v1/users')
  const output = context.output()
  await output.print(users, () => {
    const rows = users.map((user) => [
      user.name,
      user.role,
      user.full_name,
      user.id,
      formatAge(user.created_at),
    ])
    return formatTable(output.paint, ['NAME', 'ROLE', 'FULL NAME', 'ID', 'CREATED'], rows)
  })
}
