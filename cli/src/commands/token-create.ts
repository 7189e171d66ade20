// howdah token create: the token is shown once.
import type { TokenCreated } from '@howdah/core/contract/users.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../option-values.ts'
import { formatFields } from '../output.ts'
import { tokensPath } from '../token-path.ts'

interface CreateFlags {
  user?: string
  expiresInDays?: number
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'token')
    .command('create')
    .description('make a token; it is shown once')
    .argument('<name>', 'what it is for, e.g. "ci"')
    .option('--user <user>', 'for this user (default: you)')
    .option('--expires-in-days <count>', '1 to 3650 (default: never)', parseCount(1, 3650))
    .action((name: string, flags: CreateFlags) => createToken(context, name, flags))
}

async function createToken(context: Context, name: string, flags: CreateFlags): Promise<void> {
  const path = await tokensPath(context, flags.user)
  const body = { name, expires_in_days: flags.expiresInDays }
  const { data } = await context.client().request<TokenCreated>('POST', path, { body })
  const output = context.output()
  await output.print(data, () => [
    ...formatFields(output.paint, [
      ['id', data.id],
      ['name', data.name],
      ['token', { text: data.token, style: 'bold' }],
      ['expires', data.expires_at ?? 'never'],
    ]),
    output.paint('dim', 'The token is shown this once. Use it as HOWDAH_TOKEN.'),
  ])
}
