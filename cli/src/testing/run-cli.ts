// Owns running the CLI as a child process, as a person's shell would.
import { spawn } from 'node:child_process'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '..', 'main.ts')
const DEADLINE_MS = 30_000

export interface CliResult {
  exitCode: number | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  home?: string
  env?: Record<string, string>
  stdin?: string
  /** Called with all of stderr so far; e.g. to send a signal once something was said. */
  onStderr?: (stderr: string, kill: (signal: NodeJS.Signals) => void) => void
}

/** Kills the child and rejects after 30 s. */
export function runCliProcess(argv: string[], options: CliOptions = {}): Promise<CliResult> {
  const { promise, resolve, reject } = Promise.withResolvers<CliResult>()
  const env: Record<string, string> = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: '/nonexistent',
    HOWDAH_HOME: options.home ?? '/nonexistent',
    ...options.env,
  }
  const child = spawn(process.execPath, [MAIN, ...argv], { env, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  const deadline = setTimeout(() => {
    child.kill('SIGKILL')
    reject(new Error(`howdah ${argv.join(' ')} did not end in time\n${stdout}\n${stderr}`))
  }, DEADLINE_MS)
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    options.onStderr?.(stderr, (signal) => child.kill(signal))
  })
  // The child may end without reading its input.
  child.stdin.on('error', () => undefined).end(options.stdin ?? '')
  child.on('close', (exitCode) => {
    clearTimeout(deadline)
    resolve({ exitCode, stdout, stderr })
  })
  return promise
}
