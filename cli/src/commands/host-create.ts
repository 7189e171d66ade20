// howdah host create: announces a host and shows the one-time token that its agent joins with.
import type { EnrolmentToken, Host, HostCreate } from '@howdah/core/contract/hosts.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import { type Command, Option } from 'commander'
import { apiPath, type Body } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatEnrolment } from '../enrolment-view.ts'
import { collectPair, collectText } from '../option-values.ts'

interface CreateFlags {
  address: string
  role?: HostCreate['role']
  sourceAddress?: string[]
  label?: Record<string, string>
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'host')
    .command('create')
    .description('announce a host; shows the token that its agent joins with, once')
    .argument('<name>', 'lower-case letters, digits and "-"')
    .requiredOption('--address <address>', 'where other hosts and applications reach it')
    .addOption(new Option('--role <role>', 'what goes there first').choices(['data', 'gateway']))
    .option(
      '--source-address <address>',
      'further address it connects from; repeatable',
      collectText,
    )
    .option('--label <key=value>', 'free text for people; repeatable', collectPair)
    .action((name: string, flags: CreateFlags) => createHost(context, name, flags))
}

async function createHost(context: Context, name: string, flags: CreateFlags): Promise<void> {
  const body: Body<HostCreate> = {
    name: parseResourceName(name),
    address: flags.address,
    role: flags.role,
    source_addresses: flags.sourceAddress,
    labels: flags.label,
  }
  const client = context.client()
  const { data: host } = await client.request<Host>('POST', '/v1/hosts', { body })
  // If this one is lost, `howdah host token` makes another.
  const path = apiPath`/v1/hosts/${host.id}/enrolment-token`
  const { data } = await client.request<EnrolmentToken>('POST', path)
  const output = context.output()
  await output.print(data, () => formatEnrolment(output.paint, data))
}
