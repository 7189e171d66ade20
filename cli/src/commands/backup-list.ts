// howdah backup list: the backups of a cluster, also of one that is gone.
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { formatBackups } from '../backup-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('list')
    .description('the backups of a cluster, also of a deleted one')
    .argument('<cluster>', 'name or id')
    .action((name: string) => listBackups(context, name))
}

async function listBackups(context: Context, name: string): Promise<void> {
  const { data } = await context
    .client()
    .get<{ data: Backup[] }>(apiPath`/v1/clusters/${name}/backups`)
  await context.output().print(data, () => formatBackups(context.output().paint, data))
}
