// howdah db list.
import type { Database } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatBytes, formatTable, type Paint } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'db')
    .command('list')
    .description('list the databases of a cluster')
    .argument('<cluster>', 'name or id')
    .action((cluster: string) => listDatabases(context, cluster))
}

async function listDatabases(context: Context, cluster: string): Promise<void> {
  const path = apiPath`/v1/clusters/${cluster}/databases`
  const databases = await context.client().list<Database>(path)
  const output = context.output()
  await output.print(databases, () => formatDatabases(output.paint, databases))
}

function formatDatabases(paint: Paint, databases: Database[]): string[] {
  const rows = databases.map((database) => [
    database.name,
    database.owner,
    formatBytes(database.size_bytes),
    database.encoding,
  ])
  return formatTable(paint, ['DATABASE', 'OWNER', 'SIZE', 'ENCODING'], rows)
}
