// howdah repo add: a place for backups, tried from every host before it is accepted.
import type { Repository } from '@howdah/core/contract/backups.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { type Command, Option } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../option-values.ts'
import { safeLine } from '../safe-text.ts'
import { readStandardInput } from '../standard-input.ts'

interface Flags {
  path?: string
  endpoint?: string
  port?: number
  bucket?: string
  region?: string
  uriStyle?: string
  prefix?: string
  key?: string
  secretFile?: string
  caFile?: string
  allowPrivate?: boolean
  default?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('add')
    .description('add a directory or an S3 bucket; it is tried before it is accepted')
    .argument('<name>', 'lower-case letters, digits and "-"')
    .option('--path <directory>', 'a directory that is the same storage on every host')
    .option('--endpoint <host>', 'of S3, e.g. s3.eu-central-1.amazonaws.com')
    .option('--port <port>', 'default: 443', parseCount(1, 65_535))
    .option('--bucket <name>')
    .option('--region <name>', 'default: us-east-1')
    .addOption(new Option('--uri-style <style>', 'default: host').choices(['host', 'path']))
    .option('--prefix <path>', 'below which everything goes')
    .option('--key <id>', 'access key id')
    .option('--secret-file <file>', 'file with the secret key; default: standard input')
    .option('--ca-file <file>', 'PEM of the authority, where the system does not trust it')
    .option('--allow-private', 'the endpoint may be in a private network')
    .option('--default', 'back new clusters up there')
    .action((name: string, flags: Flags) => addRepository(context, name, flags))
}

async function addRepository(context: Context, name: string, flags: Flags): Promise<void> {
  const body = {
    name,
    ...(flags.path === undefined ? await s3Body(context, flags) : directoryBody(flags.path)),
    ...(flags.default === true ? { default: true } : {}),
  }
  const { data } = await context.client().request<Repository>('POST', '/v1/repositories', { body })
  await context
    .output()
    .print(data, () => [`repository ${safeLine(data.name)} is at ${safeLine(data.location)}`])
}

function directoryBody(path: string) {
  return { kind: 'directory', path }
}

async function s3Body(context: Context, flags: Flags) {
  const { endpoint, bucket, key } = flags
  if (endpoint === undefined || bucket === undefined || key === undefined) {
    const said = 'give --path, or --endpoint, --bucket and --key'
    throw new HowdahError('bad-request', said)
  }
  const { readFile } = await import('node:fs/promises')
  const secret =
    flags.secretFile === undefined
      ? (await readStandardInput(context)).trim()
      : (await readFile(flags.secretFile, 'utf8')).trim()
  const caPem = flags.caFile === undefined ? undefined : await readFile(flags.caFile, 'utf8')
  return {
    kind: 's3',
    endpoint,
    bucket,
    key,
    secret,
    ...(flags.port === undefined ? {} : { port: flags.port }),
    ...(flags.region === undefined ? {} : { region: flags.region }),
    ...(flags.uriStyle === undefined ? {} : { uri_style: flags.uriStyle }),
    ...(flags.prefix === undefined ? {} : { prefix: flags.prefix }),
    ...(caPem === undefined ? {} : { ca_pem: caPem }),
    ...(flags.allowPrivate === true ? { allow_private: true } : {}),
  }
}
