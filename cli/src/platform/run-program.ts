// Owns running a program to its end: argv only, a clean environment, bounded time and output.
import { execFile } from 'node:child_process'

/**
 * What the platform's programs see; nothing else is inherited, so a user's profile changes nothing.
 */
export const CLEAN_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/nonexistent',
  LANG: 'C.UTF-8',
}

export interface ProgramResult {
  /** -1 when it could not be started, or a signal or the time limit ended it. */
  exitCode: number
  output: string
  error: string
}

export interface ProgramOptions {
  timeoutMs: number
  input?: string
  directory?: string
}

const OUTPUT_BYTES_MAX = 262_144

/** Never throws: a program that fails, or is not there, is a result. */
export function tryProgram(argv: string[], options: ProgramOptions): Promise<ProgramResult> {
  const [program, ...args] = argv
  if (program === undefined) throw new Error('BUG: an empty argv')
  return new Promise((resolve) => {
    const limits = {
      cwd: options.directory ?? '/',
      env: CLEAN_ENV,
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL' as const,
      maxBuffer: OUTPUT_BYTES_MAX,
    }
    const child = execFile(program, args, limits, (failure, output, error) => {
      if (failure === null) return resolve({ exitCode: 0, output, error })
      const exitCode = typeof failure.code === 'number' ? failure.code : -1
      resolve({ exitCode, output, error: error === '' ? failure.message : error })
    })
    // A program that ends without reading its input is judged by its exit code, not by EPIPE.
    child.stdin?.on('error', () => {})
    child.stdin?.end(options.input ?? '')
  })
}

/** Standard output; throws an Error with argv, exit code and the last lines of stderr. */
export async function runProgram(argv: string[], options: ProgramOptions): Promise<string> {
  const result = await tryProgram(argv, options)
  if (result.exitCode === 0) return result.output
  const said = result.error.trim().split('\n').slice(-5).join('\n')
  throw new Error(`${argv.join(' ')} ended with exit code ${result.exitCode}: ${said}`)
}
