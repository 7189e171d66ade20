// howdah repo delete: forgets a repository that holds no backups; nothing in it is touched.
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface Flags {
  forget?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('delete')
    .description('forget a repository that holds no backups')
    .argument('<repository>', 'name or id')
    .option('--forget', 'also one that still holds backups of clusters that have left it')
    .action((name: string, flags: Flags) => deleteRepository(context, name, flags))
}

async function deleteRepository(context: Context, name: string, flags: Flags): Promise<void> {
  const query = flags.forget === true ? '?forget=true' : ''
  await context.client().request('DELETE', apiPath`/v1/repositories/${name}` + query)
  await context.output().print({ name }, () => [`repository ${safeLine(name)} is forgotten`])
}
