// Owns how the agent runs the backup program: with a configuration that lives as long as the task,
// as the service user, and only with the commands and options that are listed here.
import { randomUUID } from 'node:crypto'
import { lstat, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { RepositoryAccess, TaskAction } from '@howdah/core/protocol.ts'
import {
  type ArchiveInventory,
  parseHistoryName,
  parseSegmentName,
  rangesOf,
  SEGMENT_BYTES,
} from '@howdah/core/wal.ts'
import { writeFileAtomic } from '../atomic-file.ts'
import { below, type HostRoot } from '../host-root.ts'
import { resolveProgram } from '../programs.ts'
import { runProgram } from '../run-program.ts'
import { checkEndpoint } from './endpoint-check.ts'
import { TaskError } from './task-error.ts'
import { startThrottle, type ThrottleOptions } from './throttle.ts'
import { localDataDirectories, whileInstanceRuns } from './while-instance-runs.ts'

type PgbackrestAction = Extract<TaskAction, { kind: 'pgbackrest' }>

export interface RepositoryContext {
  root: HostRoot
  timeoutMs: number
  signal: AbortSignal
}

/** Options that change what a command reads or writes elsewhere are none of these. */
const OPTIONS: readonly string[] = [
  '--type',
  '--set',
  '--annotation',
  '--output',
  '--recurse',
  '--no-online',
  '--repo1-retention-full',
  '--repo1-retention-full-type',
  '--process-max',
  '--backup-standby',
  '--dry-run',
]
/**
 * zstd stores a segment's 16 MiB in 128 blocks of at least 4 bytes: less was cut, or never written.
 */
const STORED_BYTES_MIN = 512
/** A year of one segment a minute is a list of about 100 MB. */
const LIST_BYTES_MAX = 256 * 1024 * 1024
const ANSWER_BYTES_MAX = 1024 * 1024
const ERROR_CHARACTERS_MAX = 1000
/** Holds the identity of the place, whichever name or address leads to it. */
const PLACE_FILE = 'place'
const STDERR_CHARACTERS_MAX = 16_384

/**
 * A backup takes the processors when PostgreSQL leaves them. A session of its own, as Linux shares
 * processors between sessions first, and each backend of PostgreSQL is one: `nice` alone would only
 * order it among the agent's own children.
 */
const POLITELY = [
  ...['/usr/bin/setsid', '/usr/bin/nice', '-n', '10'],
  ...['/bin/sh', '-c', 'echo 10 2>/dev/null >/proc/self/autogroup; exec "$@"', 'sh'],
] as const

/** The program with its configuration, for as long as `body` runs. */
export interface OpenRepository {
  /** Absolute path of the program, then the options that lead it to the repository. */
  argv: [string, ...string[]]
  run(args: readonly string[], options?: RunOptions): Promise<string>
}

interface RunOptions {
  outputBytesMax?: number
  input?: string
  throttle?: ThrottleOptions | undefined
  politely?: boolean
}

export async function withRepository<T>(
  access: RepositoryAccess,
  context: RepositoryContext,
  body: (repository: OpenRepository) => Promise<T>,
): Promise<T> {
  for (const endpoint of [access.endpoint, access.second?.endpoint ?? null]) {
    if (endpoint !== null) await checkEndpoint(endpoint)
  }
  const { root } = context
  const base = join(root.path, HOST_LAYOUT.tasks, randomUUID())
  const { uid, gid } = root.serviceUser
  const write = (path: string, text: string) =>
    writeFileAtomic(path, text, { mode: 0o600, owner: { uid, gid } })
  try {
    const argv: [string, ...string[]] = [
      await resolveProgram('pgbackrest'),
      `--config=${base}.conf`,
      `--stanza=${access.stanza}`,
    ]
    await write(`${base}.conf`, access.config)
    if (access.caPem !== null) {
      await write(`${base}.crt`, access.caPem)
      argv.push(`--repo1-storage-ca-file=${base}.crt`)
    }
    const secondCaPem = access.second?.caPem ?? null
    if (secondCaPem !== null) {
      await write(`${base}.2.crt`, secondCaPem)
      argv.push(`--repo2-storage-ca-file=${base}.2.crt`)
    }
    return await body({ argv, run: (args, options) => runBounded(argv, args, context, options) })
  } finally {
    await rm(`${base}.conf`, { force: true })
    await rm(`${base}.crt`, { force: true })
    await rm(`${base}.2.crt`, { force: true })
  }
}

async function runBounded(
  argv: [string, ...string[]],
  args: readonly string[],
  { root, timeoutMs, signal }: RepositoryContext,
  options: RunOptions = {},
): Promise<string> {
  const { throttle } = options
  try {
    return await runProgram({
      ...(throttle && { watch: (pid: number) => startThrottle(pid, throttle).end }),
      argv: options.politely === true ? [...POLITELY, ...argv, ...args] : [...argv, ...args],
      timeoutMs,
      user: root.dropTo,
      // Its helpers outlive it for a moment.
      directory: root.path,
      signal,
      outputBytesMax: options.outputBytesMax ?? ANSWER_BYTES_MAX,
      input: options.input ?? '',
      stderrCharactersMax: STDERR_CHARACTERS_MAX,
    })
  } catch (error) {
    throw toTaskError(error)
  }
}

/**
 * `ERROR: [041]: …` as the code `pgbackrest-041`. The argv before it helps nobody, and of what a
 * store answered only its own code does.
 */
function toTaskError(error: unknown): TaskError {
  if (error instanceof HowdahError) return new TaskError('refused', error.message)
  const text = describeError(error)
  const said = /ERROR: \[(\d{3})\]: ([\s\S]*)$/.exec(text)
  if (said === null) {
    // A program that crashed says nothing itself.
    const ended = text.slice(text.lastIndexOf(' ended with ') + 1).slice(-ERROR_CHARACTERS_MAX)
    return new TaskError('', `pgbackrest ${ended}`)
  }
  const [detail = ''] = (said[2] ?? '').split('*** Path/Query ***')
  const answer = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1]
  const whole = detail.trim() + (answer === undefined ? '' : ` ${answer}`)
  return new TaskError(`pgbackrest-${said[1]}`, whole.slice(0, ERROR_CHARACTERS_MAX))
}

export async function runPgbackrest(
  action: PgbackrestAction,
  context: RepositoryContext,
): Promise<{ output: string }> {
  const stranger = action.options.find(
    (option) => !OPTIONS.includes(option.split('=')[0] as string),
  )
  if (stranger !== undefined)
    throw new TaskError('refused', `the option ${stranger} is not allowed`)
  const bytesPerSecondMax = action.readBytesPerSecondMax
  const copied = action.command === 'backup' ? localDataDirectories(action.repository.config) : []
  return await whileInstanceRuns(copied, context.signal, (signal) =>
    withRepository(action.repository, { ...context, signal }, async ({ run }) => ({
      output: await run([...action.options, action.command, ...action.operands], {
        throttle: bytesPerSecondMax === undefined ? undefined : { bytesPerSecondMax, copied },
        politely: action.command === 'backup',
      }),
    })),
  )
}

/** In a path of its own; whoever looks at the repository meanwhile is not disturbed. */
export async function probeRepository(
  action: Extract<TaskAction, { kind: 'probe-repository' }>,
  context: RepositoryContext,
): Promise<{ place: string }> {
  const text = randomUUID()
  const path = `probe-${text}`
  return await withRepository(action.repository, context, async ({ run }) => {
    const list = async () =>
      Object.keys(JSON.parse(await run(['--output=json', 'repo-ls'])) as Record<string, unknown>)
    await run(['repo-put', path], { input: text })
    try {
      const read = await run(['repo-get', path])
      if (read !== text) throw new TaskError('', 'what was read is not what was written')
      if (!(await list()).includes(path)) throw new TaskError('', 'what was written is not listed')
    } finally {
      await run(['repo-rm', path])
    }
    if (!(await list()).includes(PLACE_FILE)) {
      await run(['repo-put', PLACE_FILE], { input: action.place })
    }
    return { place: (await run(['repo-get', PLACE_FILE])).trim() }
  })
}

/** A segment of another size is not whole, or none. */
export async function pushSegments(
  action: Extract<TaskAction, { kind: 'push-segments' }>,
  context: RepositoryContext,
): Promise<{ pushed: string[] }> {
  const directory = join(below(context.root, action.dataDirectory), 'pg_wal')
  const pushed: string[] = []
  await withRepository(action.repository, context, async ({ run }) => {
    for (const segment of action.segments) {
      const path = join(directory, segment)
      const found = await lstat(path).catch(() => undefined)
      if (found?.isFile() !== true || found.size !== SEGMENT_BYTES) continue
      await run(['--no-archive-async', 'archive-push', path])
      pushed.push(segment)
    }
  })
  return { pushed }
}

type ListArchive = Omit<Extract<TaskAction, { kind: 'list-archive' }>, 'kind'>

/** A directory that is not there holds nothing. */
export async function listArchive(
  { repository, archiveId, directories }: ListArchive,
  context: RepositoryContext,
): Promise<ArchiveInventory> {
  const path = `archive/${repository.stanza}/${archiveId}`
  return await withRepository(repository, context, async ({ run }) => {
    const list = async (...args: string[]) => {
      const options = { outputBytesMax: LIST_BYTES_MAX }
      const text = await run(['--output=json', 'repo-ls', ...args], options)
      return JSON.parse(text) as Record<string, { size?: number }>
    }
    if (directories === undefined) return summarize(await list('--recurse', path))
    const listed: Record<string, { size?: number }> = {}
    for (const each of directories) Object.assign(listed, await list(`${path}/${each}`))
    return summarize(listed)
  })
}

/**
 * `15-1/0000000100000000/000000010000000000000003-<checksum>.zst` is a segment; the rest is not,
 * nor what is too small for one.
 */
export function summarize(listed: Record<string, { size?: number }>): ArchiveInventory {
  let bytes = 0
  const histories: number[] = []
  const segments = Object.entries(listed).flatMap(([path, { size }]) => {
    bytes += size ?? 0
    const name = path.slice(path.lastIndexOf('/') + 1)
    const history = parseHistoryName(name)
    if (history !== undefined) histories.push(history)
    if (size !== undefined && size < STORED_BYTES_MIN) return []
    const match = /^([0-9A-F]{24})-[0-9a-f]{40}(\.[a-z0-9]+)?$/.exec(name)
    const segment = match === null ? undefined : parseSegmentName(match[1] as string)
    return segment === undefined ? [] : [segment]
  })
  return { ranges: rangesOf(segments), histories, segments: segments.length, bytes }
}
