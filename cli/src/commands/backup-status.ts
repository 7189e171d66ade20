// howdah backup status: what can be restored, what would be lost now, and what is wrong.
import type { BackupStatus } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { formatStatus } from '../backup-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('status')
    .description('what can be restored, what would be lost now, and what is wrong')
    .argument('<cluster>', 'name or id')
    .action((name: string) => showStatus(context, name))
}

async function showStatus(context: Context, name: string): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/backup-status`
  const status = await context.client().get<BackupStatus>(path)
  await context.output().print(status, () => formatStatus(context.output().paint, status))
}
