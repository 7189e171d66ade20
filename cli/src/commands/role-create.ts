// howdah role create: the password is generated, or read from standard input; never a flag's value,
// which every process list would show.
import type { Cluster, RoleAccepted } from '@howdah/core/contract/clusters.ts'
import { type Command, Option } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { formatCredentials } from '../cluster-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { saveCredentials } from '../credentials-file.ts'
import { safeLine } from '../safe-text.ts'
import { readPassword } from '../standard-input.ts'

interface CreateFlags extends WaitFlags {
  access?: 'read' | 'write' | 'none'
  database?: string
  passwordStdin?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'role')
    .command('create')
    .description('create a role that can log in; its password is shown once')
    .argument('<cluster>', 'name or id')
    .argument('<role>', 'any characters but NUL, at most 63 bytes')
    .addOption(
      new Option('--access <kind>', 'to the database: read, write, or none (default)').choices([
        'read',
        'write',
        'none',
      ]),
    )
    .option('--database <database>', 'where the access is granted')
    .option('--password-stdin', 'read the password from standard input')
    .option(...NO_WAIT)
    .action((cluster: string, role: string, flags: CreateFlags) =>
      createRole(context, cluster, role, flags),
    )
}

async function createRole(
  context: Context,
  cluster: string,
  role: string,
  flags: CreateFlags,
): Promise<void> {
  const client = context.client()
  const password = flags.passwordStdin === true ? await readPassword(context) : undefined
  const body = { name: role, access: flags.access, database: flags.database, password }
  const path = apiPath`/v1/clusters/${cluster}`
  const owner = await client.get<Cluster>(path)
  const reply = await client.request<RoleAccepted>('POST', `${path}/roles`, { body })
  const { operation } = reply.data
  const given =
    reply.data.credentials ??
    (password === undefined ? undefined : { role, password, database: flags.database ?? null })
  // Before it is followed: whatever happens next, the password is not lost.
  if (given !== undefined) await saveCredentials(context.home(), owner, given)
  const isDone = await finishAccepted(context, reply.data, flags)
  // A password that the person sent is not shown back.
  const credentials = password === undefined ? given : undefined
  const output = context.output()
  await output.print({ operation, ...(credentials && { credentials }) }, () => [
    `role ${safeLine(role)} ${isDone ? 'is created' : 'is being created'}`,
    ...(credentials === undefined ? [] : formatCredentials(output.paint, credentials)),
  ])
}
