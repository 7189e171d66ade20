// howdah role list.
import type { Role } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatTable, type Paint } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'role')
    .command('list')
    .description('list the roles of a cluster')
    .argument('<cluster>', 'name or id')
    .action((cluster: string) => listRoles(context, cluster))
}

async function listRoles(context: Context, cluster: string): Promise<void> {
  const roles = await context.client().list<Role>(apiPath`/v1/clusters/${cluster}/roles`)
  const output = context.output()
  await output.print(roles, () => formatRoles(output.paint, roles))
}

function formatRoles(paint: Paint, roles: Role[]): string[] {
  const rows = roles.map((role) => [
    role.name,
    role.login ? 'yes' : 'no',
    role.connection_limit < 0 ? 'none' : String(role.connection_limit),
    role.member_of.join(', '),
  ])
  return formatTable(paint, ['ROLE', 'LOGIN', 'CONNECTION LIMIT', 'MEMBER OF'], rows)
}
