// howdah api: any request to the API, for what has no command (yet).
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import type { Method } from '../api-client.ts'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatJson } from '../output.ts'
import { readBodyArgument } from '../standard-input.ts'

interface ApiFlags {
  body?: string
  ifMatch?: string
}

const METHODS: Method[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

export function register(program: Command, context: Context): void {
  program
    .command('api')
    .helpGroup(HELP_GROUPS.access)
    .description('send any request to the API, e.g. howdah api GET /v1/clusters')
    .argument('<method>', METHODS.join(', '))
    .argument('<path>', 'with its query, e.g. /v1/events?limit=5')
    .option('--body <json>', 'the body: JSON, @file, or - for standard input')
    .option('--if-match <etag>', 'the version that a change is based on; * for any')
    .action((method: string, path: string, flags: ApiFlags) =>
      sendRequest(context, { method, path, flags }),
    )
}

async function sendRequest(
  context: Context,
  wanted: { method: string; path: string; flags: ApiFlags },
): Promise<void> {
  const { body, ifMatch } = wanted.flags
  const reply = await context
    .client()
    .request<unknown>(parseMethod(wanted.method), parsePath(wanted.path), {
      ...(body === undefined ? {} : { body: await readBodyArgument(context, body) }),
      ...(ifMatch === undefined ? {} : { ifMatch }),
    })
  if (reply.data === undefined) return
  await context.output().print(reply.data, () => [formatJson(reply.data)])
}

function parseMethod(text: string): Method {
  const method = METHODS.find((known) => known === text.toUpperCase())
  if (method === undefined) {
    throw new HowdahError('bad-request', `${JSON.stringify(text)} is not a method of the API`, {
      extra: { hint: `use one of ${METHODS.join(', ')}` },
    })
  }
  return method
}

function parsePath(text: string): string {
  // Only visible ASCII belongs in a request line.
  if (!/^\/[\x21-\x7e]*$/.test(text)) {
    throw new HowdahError('bad-request', `${JSON.stringify(text)} is not a path`, {
      extra: { hint: 'start it with /v1/, and percent-encode other characters' },
    })
  }
  return text
}
