// Renders docs/reference/config.md from the tables of settings that the processes themselves read.
import { SETTINGS as AGENT } from '../agent/src/config.ts'
import { SETTINGS as CONTROL_PLANE } from '../control-plane/src/config.ts'

const HEAD = `# Configuration

<!-- Written by scripts/gen-config.ts from the config.ts of each process: change those, then
npm run gen. -->

Three layers, each for another person:

1. *Settings of a process*, on this page: where it listens, where its files are. Environment
   variables, read once at its start; a wrong one ends the process with every problem listed.
2. *State of the platform*: users, hosts, clusters. In the platform database, changed through the
   API.
3. *The spec of a cluster*: instances, durability, [parameters](parameters.md). Versioned, changed
   through the API by whoever operates the cluster.

The embedded platform (\`howdah up\`) sets the variables of the control plane and of the agents
itself; set them where you run those processes yourself.

## The command line

\`howdah\`
`

/** The command line's, which reads them where it needs them. */
const COMMAND_LINE: Setting[] = [
  {
    env: 'HOWDAH_HOME',
    doc: 'Home of the embedded platform and of the command line’s files; --home does the same',
  },
  { env: 'HOWDAH_API', doc: 'The API to talk to, an https:// URL' },
  { env: 'HOWDAH_TOKEN', doc: 'The token to send' },
  {
    env: 'HOWDAH_CA_FILE',
    doc: 'File with the authority that signed the API’s certificate',
    said: '`ca` of `cli.json`',
  },
  {
    env: 'HOWDAH_SUBNET',
    doc: 'howdah up: first three parts of the loopback addresses; a home keeps its first one',
    fallback: '127.42.0',
  },
  {
    env: 'HOWDAH_LOG_LEVEL',
    doc: 'howdah up: handed to the control plane and the agents',
    fallback: 'info',
  },
  {
    env: 'HOWDAH_UNDO_DAYS',
    doc: 'howdah up: handed to the control plane',
    fallback: '7',
  },
  {
    env: 'HOWDAH_SPARES',
    doc: 'howdah up: handed to the agents; off: hosts keep no empty data directory ready',
    fallback: 'on',
  },
  {
    env: 'HOWDAH_ARCHIVE_CHECK_SECONDS',
    doc: 'howdah up: handed to the control plane',
    fallback: '30',
  },
  { env: 'HOWDAH_DEBUG', doc: 'Print the stack of an error, for a report', required: false },
  { env: 'NO_COLOR', doc: 'No colours; --no-color does the same', required: false },
]

const TABLE = '\n| variable | default | |\n|---|---|---|\n'

/** Defaults that depend on the machine, in words: the page must not depend on where it is made. */
const SAID: Readonly<Record<string, string>> = {
  HOWDAH_HOME: '`/var/lib/howdah` for root, `~/.howdah` otherwise',
  HOWDAH_API: '`api` of `cli.json` in the home',
  HOWDAH_TOKEN: '`token` of `cli.json`',
  HOWDAH_WORKER_ID: 'the name of the machine',
  HOWDAH_SERVICE_USER: '`postgres` under root, the caller otherwise',
}

interface Setting {
  env: string
  doc: string
  fallback?: string | undefined
  /** The default in words, where the same variable means something else to another process. */
  said?: string
  required?: boolean
  expected?: string
  secret?: true
}

function row({ env, doc, fallback, said, required = true, expected, secret }: Setting): string {
  const none = required ? 'none: must be set' : 'unset'
  const value =
    said ??
    SAID[env] ??
    (fallback === undefined ? none : fallback === '' ? 'empty' : `\`${fallback}\``)
  const expects = expected === undefined ? '' : `; expected ${expected}`
  const hidden = secret === true ? '; never logged, removed from the environment once read' : ''
  return `| \`${env}\` | ${value} | ${`${doc}${expects}${hidden}`.replaceAll('|', '\\|')} |\n`
}

export async function renderConfigPage(): Promise<string> {
  const controlPlane: Setting[] = Object.values(CONTROL_PLANE)
  return [
    HEAD,
    TABLE,
    ...COMMAND_LINE.map(row),
    '\n## The control plane\n\n`node control-plane/src/main.ts`\n',
    TABLE,
    ...controlPlane.map(row),
    '\n## The agent\n\n`node agent/src/main.ts`, one per host\n',
    TABLE,
    ...AGENT.map(row),
  ].join('')
}
