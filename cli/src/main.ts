// The CLI's composition root: global flags, every command, and the one place where failures become
// text and an exit code. Commands load their heavy parts when they run, so that --help is quick.
import { Command, CommanderError, Option } from 'commander'
import * as api from './commands/api.ts'
import * as backupCreate from './commands/backup-create.ts'
import * as backupDelete from './commands/backup-delete.ts'
import * as backupList from './commands/backup-list.ts'
import * as backupSchedule from './commands/backup-schedule.ts'
import * as backupShow from './commands/backup-show.ts'
import * as backupStatus from './commands/backup-status.ts'
import * as clusterChangeRepository from './commands/cluster-change-repository.ts'
import * as clusterCreate from './commands/cluster-create.ts'
import * as clusterDelete from './commands/cluster-delete.ts'
import * as clusterFailover from './commands/cluster-failover.ts'
import * as clusterList from './commands/cluster-list.ts'
import * as clusterPause from './commands/cluster-pause.ts'
import * as clusterRestart from './commands/cluster-restart.ts'
import * as clusterResume from './commands/cluster-resume.ts'
import * as clusterScale from './commands/cluster-scale.ts'
import * as clusterShow from './commands/cluster-show.ts'
import * as clusterSwitchover from './commands/cluster-switchover.ts'
import * as clusterUndelete from './commands/cluster-undelete.ts'
import * as clusterUpdate from './commands/cluster-update.ts'
import * as dbCreate from './commands/db-create.ts'
import * as dbDelete from './commands/db-delete.ts'
import * as dbList from './commands/db-list.ts'
import * as drillGameDay from './commands/drill-game-day.ts'
import * as drillRestore from './commands/drill-restore.ts'
import * as events from './commands/events.ts'
import * as fork from './commands/fork.ts'
import * as hostCreate from './commands/host-create.ts'
import * as hostDelete from './commands/host-delete.ts'
import * as hostList from './commands/host-list.ts'
import * as hostShow from './commands/host-show.ts'
import * as hostToken from './commands/host-token.ts'
import * as opCancel from './commands/op-cancel.ts'
import * as opList from './commands/op-list.ts'
import * as opLogs from './commands/op-logs.ts'
import * as opRetry from './commands/op-retry.ts'
import * as opWatch from './commands/op-watch.ts'
import * as paramList from './commands/param-list.ts'
import * as psql from './commands/psql.ts'
import * as repoAdd from './commands/repo-add.ts'
import * as repoDelete from './commands/repo-delete.ts'
import * as repoList from './commands/repo-list.ts'
import * as repoShow from './commands/repo-show.ts'
import * as repoUpdate from './commands/repo-update.ts'
import * as restore from './commands/restore.ts'
import * as restorePointCreate from './commands/restore-point-create.ts'
import * as restorePointList from './commands/restore-point-list.ts'
import * as roleCreate from './commands/role-create.ts'
import * as roleDelete from './commands/role-delete.ts'
import * as roleList from './commands/role-list.ts'
import * as roleRotatePassword from './commands/role-rotate-password.ts'
import * as tokenCreate from './commands/token-create.ts'
import * as tokenDelete from './commands/token-delete.ts'
import * as tokenList from './commands/token-list.ts'
import * as uri from './commands/uri.ts'
import * as userCreate from './commands/user-create.ts'
import * as userDelete from './commands/user-delete.ts'
import * as userList from './commands/user-list.ts'
import * as userUpdate from './commands/user-update.ts'
import * as whoami from './commands/whoami.ts'
import { readEnvironment } from './config-file.ts'
import { type Context, makeContext, type Streams } from './context.ts'
import { describeFailure, formatFailure } from './failure.ts'
import { makePaint, OUTPUT_FORMATS } from './output.ts'

const VERSION = '0.1.0'

// The order of the help.
const COMMANDS = [
  clusterCreate,
  clusterList,
  clusterShow,
  clusterUpdate,
  clusterDelete,
  clusterUndelete,
  clusterSwitchover,
  clusterFailover,
  clusterRestart,
  clusterScale,
  clusterChangeRepository,
  clusterPause,
  clusterResume,
  backupCreate,
  backupList,
  backupShow,
  backupStatus,
  backupSchedule,
  backupDelete,
  fork,
  restore,
  restorePointCreate,
  restorePointList,
  drillRestore,
  drillGameDay,
  repoAdd,
  repoList,
  repoShow,
  repoUpdate,
  repoDelete,
  uri,
  psql,
  dbCreate,
  dbList,
  dbDelete,
  roleCreate,
  roleList,
  roleRotatePassword,
  roleDelete,
  paramList,
  opList,
  opWatch,
  opLogs,
  opCancel,
  opRetry,
  events,
  hostList,
  hostShow,
  hostCreate,
  hostToken,
  hostDelete,
  userList,
  userCreate,
  userUpdate,
  userDelete,
  tokenList,
  tokenCreate,
  tokenDelete,
  whoami,
  api,
]

// First words that need nothing of what starts and stops a platform; for any other all is loaded.
const WITHOUT_PLATFORM = new Set([
  'cluster',
  'backup',
  'fork',
  'restore',
  'restore-point',
  'repo',
  'uri',
  'psql',
  'db',
  'role',
  'param',
  'op',
  'events',
  'host',
  'user',
  'token',
  'whoami',
  'api',
])

const HELP_AFTER = `
Examples:
  howdah cluster create demo              three instances behind a gateway
  howdah psql demo                        a session on it
  howdah uri demo --read                  a connection URI for an application
  howdah role create demo app2 --access write --database app
  howdah op list --state running          what is going on
  howdah cluster show demo -o json | jq .endpoints

Exit codes:
  0 ok · 1 failure · 2 usage · 3 not allowed · 4 not found · 5 conflict · 6 timeout
  7 the operation failed · 130 stopped watching

Environment:
  HOWDAH_HOME · HOWDAH_API, HOWDAH_TOKEN, HOWDAH_CA_FILE (instead of cli.json) · NO_COLOR`

export async function runCli(argv: string[], streams: Streams): Promise<number> {
  const environment = readEnvironment()
  const program = makeProgram()
  const context = makeContext({ program, environment, streams, version: VERSION })
  if (!WITHOUT_PLATFORM.has(argv[0] ?? '')) await registerPlatform(program, context)
  for (const command of COMMANDS) command.register(program, context)
  try {
    if (argv.length === 0) program.outputHelp()
    else await program.parseAsync(argv, { from: 'user' })
    return context.exitCode
  } catch (error) {
    // Help and --version end the parsing with an exception too.
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    // A noun without its verb: commander has shown the help already.
    if (error instanceof CommanderError && error.code === 'commander.help') return 2
    return reportFailure(program, context, error)
  }
}

/** Every command, for the reference page: nothing of it is run. */
export async function makeWholeProgram(streams: Streams): Promise<Command> {
  const program = makeProgram()
  const environment = readEnvironment({})
  const context = makeContext({ program, environment, streams, version: VERSION })
  await registerPlatform(program, context)
  for (const command of COMMANDS) command.register(program, context)
  return program
}

/** Without `[options]`: almost every command has some. */
function formatTerm(command: Command): string {
  const names = command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? `<${name}>` : `[${name}]`
  })
  return [command.name(), ...names].join(' ')
}

// Three times the rest to load, and of no use to the others.
async function registerPlatform(program: Command, context: Context): Promise<void> {
  const commands = await Promise.all([
    import('./commands/up.ts'),
    import('./commands/down.ts'),
    import('./commands/status.ts'),
    import('./commands/doctor.ts'),
  ])
  for (const command of commands) command.register(program, context)
}

function makeProgram(): Command {
  return new Command('howdah')
    .description('A self-hosted cloud for distributed PostgreSQL.')
    .usage('[options] <command>')
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'show help; also after any command')
    .addOption(
      new Option('-o, --output <format>', 'how data is printed')
        .choices(OUTPUT_FORMATS)
        .default('table'),
    )
    .option('--no-color', 'no colours; NO_COLOR does the same')
    .option('--home <directory>', 'where the CLI and an embedded platform keep their files')
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .configureOutput({ outputError: () => undefined })
    .configureHelp({ subcommandTerm: formatTerm })
    .addHelpText('after', HELP_AFTER)
    .exitOverride()
}

function reportFailure(program: Command, context: Context, error: unknown): number {
  const failure = describeFailure(error)
  const wanted = program.opts<{ output?: string }>().output
  const format = OUTPUT_FORMATS.find((known) => known === wanted) ?? 'table'
  const paint = format === 'json' ? makePaint(false) : context.progress().paint
  context.streams.stderr.write(formatFailure(failure, format, paint))
  if (context.environment.debug && error instanceof Error) {
    context.streams.stderr.write(`${error.stack ?? ''}\n`)
  }
  return failure.exitCode
}

if (import.meta.main) {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader has gone (`| head`): there is nobody left to say anything to.
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
      throw error
    })
  }
  const exitCode = await runCli(process.argv.slice(2), process)
  // A command may have set it itself: `up` does when a signal ended it.
  if (exitCode !== 0) process.exitCode = exitCode
}
