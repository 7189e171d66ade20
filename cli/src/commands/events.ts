// howdah events: what happened on the platform; with -f also what happens next.
import type { Event } from '@howdah/core/contract/operations.ts'
import type { Command } from 'commander'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { listEvents as readEvents } from '../event-list.ts'
import { streamEvents } from '../event-stream.ts'
import { parseCount } from '../option-values.ts'
import { formatTable, type Paint } from '../output.ts'
import { escapeInQuotes, safeLine } from '../safe-text.ts'

interface EventFlags {
  follow?: boolean
  cluster?: string
  operation?: string
  after?: string
  limit?: number
}

const COUNT_DEFAULT = 100

export function register(program: Command, context: Context): void {
  program
    .command('events')
    .helpGroup(HELP_GROUPS.operations)
    .description('list events; -f follows them')
    .option('-f, --follow', 'go on with new events until Ctrl-C')
    .option('--cluster <cluster>', 'only of this cluster')
    .option('--operation <id>', 'only of this operation')
    .option('--after <id>', 'only newer than this event')
    .option('--limit <count>', 'the newest so many (default: 100)', parseCount(1, 10_000))
    .action((flags: EventFlags) =>
      flags.follow === true ? followEvents(context, flags) : listEvents(context, flags),
    )
}

async function listEvents(context: Context, flags: EventFlags): Promise<void> {
  const { cluster, operation, after } = flags
  const query = { cluster, operation, after }
  const events = await readEvents(context.client(), query, flags.limit ?? COUNT_DEFAULT)
  const output = context.output()
  await output.print(events, () => formatEvents(output.paint, events))
}

function formatEvents(paint: Paint, events: Event[]): string[] {
  if (events.length === 0) return ['no events']
  const rows = events.map((event) => [event.id, event.at, event.kind, event.message])
  return formatTable(paint, ['ID', 'AT', 'EVENT', ''], rows)
}

/** One line per event; as JSON, one object per line (for `jq`); as YAML, one document per event. */
async function followEvents(context: Context, flags: EventFlags): Promise<void> {
  const stopped = new AbortController()
  const stop = () => stopped.abort()
  process.once('SIGINT', stop)
  const { cluster, operation, after } = flags
  const { stdout } = context.streams
  const output = context.output()
  try {
    for await (const item of streamEvents({
      client: context.client(),
      query: { cluster, operation, after },
      signal: stopped.signal,
    })) {
      if (item.type !== 'event') continue
      const { event } = item
      if (output.format === 'json') stdout.write(`${escapeInQuotes(JSON.stringify(event))}\n`)
      else if (output.format === 'yaml') await printDocument(context, event)
      else stdout.write(`${formatLine(output.paint, event)}\n`)
    }
  } finally {
    process.off('SIGINT', stop)
  }
}

async function printDocument(context: Context, event: Event): Promise<void> {
  context.streams.stdout.write('---\n')
  await context.output().print(event, () => [])
}

function formatLine(paint: Paint, event: Event): string {
  const kind = safeLine(event.kind).padEnd(20)
  return `${paint('dim', safeLine(event.at))}  ${kind}  ${safeLine(event.message)}`
}
