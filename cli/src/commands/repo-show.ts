// howdah repo show: one repository; never its key or secret.
import type { Repository } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatFields } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('show')
    .description('one repository')
    .argument('<repository>', 'name or id')
    .action((name: string) => showRepository(context, name))
}

async function showRepository(context: Context, name: string): Promise<void> {
  const row = await context.client().get<Repository>(apiPath`/v1/repositories/${name}`)
  await context.output().print(row, () =>
    formatFields(context.output().paint, [
      ['id', row.id],
      ['name', row.name],
      ['kind', row.kind],
      ['location', row.location],
      ['default', row.default ? 'yes' : 'no'],
      ['clusters', String(row.clusters)],
      ['created', row.created_at],
    ]),
  )
}
