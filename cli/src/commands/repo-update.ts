// howdah repo update: other keys, another authority, or the default; where it is never changes.
import type { Repository } from '@howdah/core/contract/backups.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../safe-text.ts'
import { readStandardInput } from '../standard-input.ts'

interface Flags {
  key?: string
  secretFile?: string
  caFile?: string | false
  default?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'repo')
    .command('update')
    .description('change keys or authority of a repository; they are tried before they are kept')
    .argument('<repository>', 'name or id')
    .option('--key <id>', 'access key id; its secret is read, too')
    .option('--secret-file <file>', 'file with the secret key; default: standard input')
    .option('--ca-file <file>', 'PEM of the authority')
    .option('--no-ca-file', 'the system trusts its authority')
    .option('--default', 'back new clusters up there')
    .action((name: string, flags: Flags) => updateRepository(context, name, flags))
}

async function updateRepository(context: Context, name: string, flags: Flags): Promise<void> {
  const body = await changeOf(context, flags)
  if (Object.keys(body).length === 0) {
    throw new HowdahError('bad-request', 'nothing to change was given', {
      extra: { hint: 'give --key, --secret-file, --ca-file, --no-ca-file or --default' },
    })
  }
  const client = context.client()
  const path = apiPath`/v1/repositories/${name}`
  const { data: present, etag } = await client.request<Repository>('GET', path)
  const ifMatch = etag === '' ? present.version : etag
  const { data } = await client.request<Repository>('PATCH', path, { body, ifMatch })
  await context.output().print(data, () => [`repository ${safeLine(data.name)} is updated`])
}

async function changeOf(context: Context, flags: Flags): Promise<Record<string, unknown>> {
  const { readFile } = await import('node:fs/promises')
  const { key, secretFile, caFile } = flags
  const body: Record<string, unknown> = {}
  if (key !== undefined) body['key'] = key
  if (secretFile !== undefined) body['secret'] = (await readFile(secretFile, 'utf8')).trim()
  else if (key !== undefined) body['secret'] = (await readStandardInput(context)).trim()
  if (caFile === false) body['ca_pem'] = null
  else if (typeof caFile === 'string') body['ca_pem'] = await readFile(caFile, 'utf8')
  if (flags.default === true) body['default'] = true
  return body
}
