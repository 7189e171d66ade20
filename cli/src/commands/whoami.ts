// howdah whoami: as whom the CLI talks to the platform, and what that user may do.
import type { WhoAmI } from '@howdah/core/contract/users.ts'
import type { Command } from 'commander'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatFields } from '../output.ts'

export function register(program: Command, context: Context): void {
  program
    .command('whoami')
    .helpGroup(HELP_GROUPS.access)
    .description('show as whom you talk to the platform')
    .action(() => showSelf(context))
}

async function showSelf(context: Context): Promise<void> {
  const self = await context.client().get<WhoAmI>('/v1/whoami')
  const output = context.output()
  await output.print(self, () =>
    formatFields(output.paint, [
      ['user', self.user.name],
      ['id', self.user.id],
      ['role', self.user.role],
      ['may', self.permissions.join(', ')],
    ]),
  )
}
