// howdah uri: a connection URI for an application, on stdout and nothing else there.
import type { Command } from 'commander'
import {
  addConnectionOptions,
  type ConnectionFlags,
  findConnection,
  hintAtPassword,
} from '../cluster-connection.ts'
import { HELP_GROUPS } from '../command-group.ts'
import { formatConnectionUri } from '../connection-target.ts'
import type { Context } from '../context.ts'

export function register(program: Command, context: Context): void {
  const command = program
    .command('uri')
    .helpGroup(HELP_GROUPS.clusters)
    .description('print a connection URI for an application')
    .argument('<cluster>', 'name or id')
  addConnectionOptions(command).action((name: string, flags: ConnectionFlags) =>
    printUri(context, name, flags),
  )
}

async function printUri(context: Context, name: string, flags: ConnectionFlags): Promise<void> {
  const connection = await findConnection(context, name, flags)
  const uri = formatConnectionUri(connection.target)
  hintAtPassword(context, connection)
  await context.output().print({ uri }, () => [uri])
}
