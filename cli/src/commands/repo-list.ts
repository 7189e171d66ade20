// howdah repo list: where backups can go.
import type { Repository } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatTable } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('list')
    .description('where backups can go')
    .action(() => listRepositories(context))
}

async function listRepositories(context: Context): Promise<void> {
  const { data } = await context.client().get<{ data: Repository[] }>('/v1/repositories')
  const rows = data.map((row) => [
    row.name,
    row.kind,
    row.location,
    row.default ? 'yes' : '',
    String(row.clusters),
  ])
  const header = ['NAME', 'KIND', 'LOCATION', 'DEFAULT', 'CLUSTERS']
  await context.output().print(data, () => formatTable(context.output().paint, header, rows))
}
