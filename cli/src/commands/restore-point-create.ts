// howdah restore-point create: names this moment.
import type { RestorePoint } from '@howdah/core/contract/backups.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'restore-point')
    .command('create')
    .description('name this moment, to fork or restore to it later')
    .argument('<cluster>', 'name or id')
    .argument('<name>', 'letters, digits, ".", "_", "-"')
    .action((cluster: string, name: string) => createRestorePoint(context, cluster, name))
}

async function createRestorePoint(context: Context, cluster: string, name: string) {
  const path = apiPath`/v1/clusters/${cluster}/restore-points`
  const { data } = await context.client().request<RestorePoint>('POST', path, { body: { name } })
  await context
    .output()
    .print(data, () => [`restore point ${safeLine(data.name)} is at ${data.lsn}, ${data.at}`])
}
