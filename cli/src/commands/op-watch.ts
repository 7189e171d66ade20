// howdah op watch: an operation live, to its end. Ctrl-C stops the watching, not the operation.
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { followToSuccess } from '../follow.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'op')
    .command('watch')
    .description('follow an operation; Ctrl-C stops watching, not the operation')
    .argument('<id>', 'op_…')
    .action((id: string) => watchOperation(context, id))
}

async function watchOperation(context: Context, id: string): Promise<void> {
  const operation = await followToSuccess(context, id)
  // The steps went to stderr while they happened; only a program wants them again.
  await context.output().print(operation, () => [])
}
