// howdah repo delete: forgets a repository that holds no backups; nothing in it is touched.
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('delete')
    .description('forget a repository that holds no backups')
    .argument('<repository>', 'name or id')
    .action((name: string) => deleteRepository(context, name))
}

async function deleteRepository(context: Context, name: string): Promise<void> {
  await context.client().request('DELETE', apiPath`/v1/repositories/${name}`)
  await context.output().print({ name }, () => [`repository ${safeLine(name)} is forgotten`])
}
