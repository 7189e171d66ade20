// howdah db create.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

interface CreateFlags extends WaitFlags {
  owner?: string
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'db')
    .command('create')
    .description('create a database')
    .argument('<cluster>', 'name or id')
    .argument('<database>', 'any characters but NUL, at most 63 bytes')
    .option('--owner <role>', 'the role that owns it')
    .option(...NO_WAIT)
    .action((cluster: string, database: string, flags: CreateFlags) =>
      createDatabase(context, cluster, database, flags),
    )
}

async function createDatabase(
  context: Context,
  cluster: string,
  database: string,
  flags: CreateFlags,
): Promise<void> {
  const path = apiPath`/v1/clusters/${cluster}/databases`
  const body = { name: database, owner: flags.owner }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is created' : 'is being created'
  await context.output().print(data, () => [`database ${safeLine(database)} ${said}`])
}
