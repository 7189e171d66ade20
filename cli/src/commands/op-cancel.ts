// howdah op cancel: asks an operation to stop at its next safe point.
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'op')
    .command('cancel')
    .description('ask an operation to stop; it undoes what it had begun')
    .argument('<id>', 'op_…')
    .action((id: string) => cancelOperation(context, id))
}

async function cancelOperation(context: Context, id: string): Promise<void> {
  const path = apiPath`/v1/operations/${id}/cancel`
  const { data } = await context.client().request<Operation>('POST', path)
  await context
    .output()
    .print(data, () => [
      `cancellation of ${safeLine(id)} is asked for; howdah op watch ${safeLine(id)} shows its end`,
    ])
}
