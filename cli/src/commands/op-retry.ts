// howdah op retry: goes on from the failed step, and follows it.
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Command } from 'commander'
import { NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { listEvents } from '../event-list.ts'
import { followToSuccess } from '../follow.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'op')
    .command('retry')
    .description('try a failed operation again, from the step that failed')
    .argument('<id>', 'op_…')
    .option(...NO_WAIT)
    .action((id: string, flags: WaitFlags) => retryOperation(context, id, flags))
}

async function retryOperation(context: Context, id: string, flags: WaitFlags): Promise<void> {
  const client = context.client()
  // What the failed attempt said is not told again.
  const [last] = await listEvents(client, { operation: id }, 1)
  const { data } = await client.request<Operation>('POST', apiPath`/v1/operations/${id}/retry`)
  if (flags.wait === false) {
    await context.output().print(data, () => [`${safeLine(id)} is tried again`])
    return
  }
  const operation = await followToSuccess(context, id, { after: last?.id ?? '0' })
  await context.output().print(operation, () => [])
}
