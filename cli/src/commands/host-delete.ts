// howdah host delete: the platform forgets a host that carries nothing.
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'host')
    .command('delete')
    .description('forget a host that carries nothing; its certificate is refused from then on')
    .argument('<host>', 'name or id')
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name as given, instead of typing it')
    .action((name: string, flags: ConfirmFlags) => deleteHost(context, name, flags))
}

async function deleteHost(context: Context, name: string, flags: ConfirmFlags): Promise<void> {
  const consequence = `the platform forgets host ${name}, and its agent is refused`
  await confirmName(context, flags, { name, consequence })
  const { data } = await context.client().request<unknown>('DELETE', apiPath`/v1/hosts/${name}`)
  await context.output().print(data ?? {}, () => [`host ${safeLine(name)} is deleted`])
}
