// howdah token list.
import type { Token } from '@howdah/core/contract/users.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatAge, formatTable } from '../output.ts'
import { tokensPath } from '../token-path.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'token')
    .command('list')
    .description('list tokens')
    .option('--user <user>', 'of this user (default: yours)')
    .action((flags: { user?: string }) => listTokens(context, flags.user))
}

async function listTokens(context: Context, user: string | undefined): Promise<void> {
  const tokens = await context.client().list<Token>(await tokensPath(context, user))
  const output = context.output()
  await output.print(tokens, () => {
    const rows = tokens.map((token) => [
      token.id,
      token.name,
      token.prefix,
      formatAge(token.created_at),
      token.expires_at ?? 'never',
      token.last_used_at === null ? 'never' : formatAge(token.last_used_at),
    ])
    const header = ['ID', 'NAME', 'STARTS WITH', 'CREATED', 'EXPIRES', 'LAST USED']
    return formatTable(output.paint, header, rows)
  })
}
