// Owns what every command is given: settings from flags, environment and home, the output, and the
// API client. Each is made when first asked for, because flags are parsed only after commands
// registered.
import type { Command } from 'commander'
import { type ApiClient, makeApiClient } from './api-client.ts'
import { chooseHome, type Environment, readConnection } from './config-file.ts'
import { makeOutput, makePaint, type Output, type OutputFormat, type Paint } from './output.ts'

export interface Streams {
  stdin: NodeJS.ReadStream
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
}

/** Where progress goes, and whether it may redraw. */
export interface Progress {
  stream: NodeJS.WriteStream
  isLive: boolean
  paint: Paint
}

export interface Context {
  environment: Environment
  streams: Streams
  version: string
  home(): string
  output(): Output
  progress(): Progress
  /** Throws `platform-unreachable` when there is no cli.json and no HOWDAH_API. */
  client(): ApiClient
  /** What the process ends with although nothing failed, e.g. psql's own exit code. */
  exitCode: number
  /** True when a person can be asked. */
  canAsk(): boolean
}

interface GlobalOptions {
  output?: OutputFormat
  color?: boolean
  home?: string
}

export function makeContext(given: {
  program: Command
  environment: Environment
  streams: Streams
  version: string
}): Context {
  const { program, environment, streams } = given
  const options = () => program.opts<GlobalOptions>()
  const home = () => chooseHome(options().home, environment)
  const color = (stream: NodeJS.WriteStream) =>
    stream.isTTY === true &&
    options().color !== false &&
    !environment.noColor &&
    !environment.dumbTerminal
  let client: ApiClient | undefined
  return {
    environment,
    streams,
    version: given.version,
    exitCode: 0,
    home,
    output: () =>
      makeOutput(streams, {
        format: options().output ?? 'table',
        color: color(streams.stdout),
      }),
    progress: () => ({
      stream: streams.stderr,
      isLive: streams.stderr.isTTY === true && !environment.dumbTerminal,
      paint: makePaint(color(streams.stderr)),
    }),
    client: () => {
      client ??= makeApiClient({
        ...readConnection(home(), environment),
        userAgent: `howdah-cli/${given.version}`,
      })
      return client
    },
    canAsk: () => streams.stdin.isTTY === true && streams.stderr.isTTY === true,
  }
}
