// Owns how an argv becomes an s6 run script. The script is execline, not shell: there is no word
// splitting, no expansion and no globbing, so quoting is the whole safety argument.

function quoteWord(word: string): string {
  if (word.includes('\0')) throw new Error('BUG: a word with NUL reached a run script')
  const escaped = word
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
  return `"${escaped}"`
}

export interface RunScript {
  /** Absolute path of the program, then its arguments. */
  argv: readonly string[]
  /** The whole environment of the process; nothing is inherited. */
  env: Readonly<Record<string, string>>
  directory: string
  /** Drop to this user and its groups; undefined: stay who we are. */
  user?: string | undefined
  /** Open file limit (soft). */
  openFiles?: number
  /** Ask supervisors to wait on this descriptor for a newline as the readiness signal. */
  notificationFd?: number
}

/**
 * The text of an executable `run` file. Standard error goes where standard output goes: the log.
 */
export function renderRunScript(script: RunScript): string {
  const words = [
    ['fdmove', '-c', '2', '1'],
    ['cd', script.directory],
    script.user === undefined ? [] : ['s6-setuidgid', script.user],
    ['s6-softlimit', '-o', String(script.openFiles ?? 65_536)],
    ['/usr/bin/env', '-i', ...Object.entries(script.env).map(([key, value]) => `${key}=${value}`)],
    [...script.argv],
  ]
  return renderScript(words)
}

/**
 * The `log/run` of a service: rotated by size, at most `files` old files, each line with a
 * timestamp.
 */
export function renderLogScript(directory: string, user: string | undefined): string {
  const words = [
    user === undefined ? [] : ['s6-setuidgid', user],
    ['s6-log', 'n5', 's2000000', 'T', directory],
  ]
  return renderScript(words)
}

function renderScript(commands: readonly (readonly string[])[]): string {
  const lines = commands
    .filter((words) => words.length > 0)
    .map((words) => words.map(quoteWord).join(' '))
  return `#!/usr/bin/execlineb -P\n${lines.join('\n')}\n`
}
