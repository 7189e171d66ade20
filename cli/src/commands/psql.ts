// howdah psql: runs psql on a cluster. The password travels in a pgpass file, because arguments and
// environments can be read by others.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import {
  addConnectionOptions,
  type ClusterConnection,
  type ConnectionFlags,
  findConnection,
  hintAtPassword,
} from '../cluster-connection.ts'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { savePgpass } from '../credentials-file.ts'

export function register(program: Command, context: Context): void {
  const command = program
    .command('psql')
    .helpGroup(HELP_GROUPS.clusters)
    .description('open psql on a cluster; what follows -- goes to psql')
    .argument('<cluster>', 'name or id')
    .argument('[psql-arguments...]')
    // So that `howdah psql demo -c 'select 1'` works without the dashes.
    .allowUnknownOption()
  addConnectionOptions(command).action((name: string, rest: string[], flags: ConnectionFlags) =>
    runPsql(context, name, { rest, flags }),
  )
}

async function runPsql(
  context: Context,
  name: string,
  { rest, flags }: { rest: string[]; flags: ConnectionFlags },
): Promise<void> {
  const connection = await findConnection(context, name, flags)
  hintAtPassword(context, connection)
  const { home } = context
  const passwordFile = await savePgpass(home(), connection.cluster.name, connection.kept)
  const env = { ...context.environment.inherited, ...libpqVariables(connection, passwordFile) }
  // It would win over the file, and belongs to some other database.
  delete env.PGPASSWORD
  delete env.PGSERVICE
  context.exitCode = await runChild('psql', rest, env)
}

function libpqVariables(
  { target }: ClusterConnection,
  passwordFile: string | undefined,
): Record<string, string> {
  return {
    PGHOST: target.addresses.map(({ host }) => host).join(','),
    PGPORT: target.addresses.map(({ port }) => port).join(','),
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: target.caFile,
    ...(target.role === undefined ? {} : { PGUSER: target.role }),
    ...(target.database === undefined ? {} : { PGDATABASE: target.database }),
    ...(passwordFile === undefined ? {} : { PGPASSFILE: passwordFile }),
  }
}

/** The exit code, as a shell would report it: 128 + number after a signal. */
function runChild(
  program: string,
  argv: string[],
  env: Record<string, string | undefined>,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const child = spawn(program, argv, { stdio: 'inherit', env })
  // The terminal sends Ctrl-C to both: psql cancels its query, and we stay until it ends.
  const ignore = () => undefined
  const forward = (signal: NodeJS.Signals) => void child.kill(signal)
  process.on('SIGINT', ignore).on('SIGQUIT', ignore)
  process.on('SIGTERM', forward).on('SIGHUP', forward)
  child.on('error', (error: NodeJS.ErrnoException) => {
    const detail = error.code === 'ENOENT' ? `${program} is not installed` : `cannot run ${program}`
    const hint = 'install it: apt-get install postgresql-client'
    reject(new HowdahError('preflight-failed', detail, { cause: error, extra: { hint } }))
  })
  child.on('exit', (code, signal) => {
    resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
  })
  return promise.finally(() => {
    process.off('SIGINT', ignore).off('SIGQUIT', ignore)
    process.off('SIGTERM', forward).off('SIGHUP', forward)
  })
}
