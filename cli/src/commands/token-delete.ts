// howdah token delete: the token stops working at once.
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'
import { tokensPath } from '../token-path.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'token')
    .command('delete')
    .description('revoke a token; it stops working at once')
    .argument('<token>', 'id, from howdah token list')
    .option('--user <user>', 'of this user (default: yours)')
    .action((token: string, flags: { user?: string }) => deleteToken(context, token, flags.user))
}

async function deleteToken(
  context: Context,
  token: string,
  user: string | undefined,
): Promise<void> {
  const path = (await tokensPath(context, user)) + apiPath`/${token}`
  const { data } = await context.client().request<unknown>('DELETE', path)
  await context.output().print(data ?? {}, () => [`token ${safeLine(token)} is revoked`])
}
