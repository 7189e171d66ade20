// howdah restore-point list: the moments of a cluster that have a name.
import type { RestorePoint } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatTable } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'restore-point')
    .command('list')
    .description('moments that have a name, the newest first')
    .argument('<cluster>', 'name or id')
    .action((cluster: string) => listRestorePoints(context, cluster))
}

async function listRestorePoints(context: Context, cluster: string): Promise<void> {
  const path = apiPath`/v1/clusters/${cluster}/restore-points`
  const { data } = await context.client().get<{ data: RestorePoint[] }>(path)
  const rows = data.map(({ name, lsn, at }) => [name, at, lsn])
  await context
    .output()
    .print(data, () => formatTable(context.output().paint, ['NAME', 'AT', 'LSN'], rows))
}
