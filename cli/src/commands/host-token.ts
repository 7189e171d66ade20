// howdah host token: a new one-time token for a host whose first one was used or expired.
import type { EnrolmentToken } from '@howdah/core/contract/hosts.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatEnrolment } from '../enrolment-view.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'host')
    .command('token')
    .description('make a new enrolment token for a host')
    .argument('<host>', 'name or id')
    .action((name: string) => makeToken(context, name))
}

async function makeToken(context: Context, name: string): Promise<void> {
  const path = apiPath`/v1/hosts/${name}/enrolment-token`
  const { data } = await context.client().request<EnrolmentToken>('POST', path)
  const output = context.output()
  await output.print(data, () => formatEnrolment(output.paint, data))
}
