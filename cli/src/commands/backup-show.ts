// howdah backup show: one backup, by id or label.
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { formatBackup } from '../backup-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('show')
    .description('one backup: when, how large, what it needs, whether it is proven')
    .argument('<cluster>', 'name or id')
    .argument('<backup>', 'id or label')
    .action((name: string, backup: string) => showBackup(context, name, backup))
}

async function showBackup(context: Context, name: string, reference: string): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/backups/${reference}`
  const backup = await context.client().get<Backup>(path)
  await context.output().print(backup, () => formatBackup(context.output().paint, backup))
}
