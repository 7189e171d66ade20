// Owns how the agent runs a short program to its end: argv, a clean environment, bounded time and
// output. Long-lived processes are s6's, never children of the agent.
import { execFile } from 'node:child_process'

const OUTPUT_BYTES_MAX = 262_144
const STDERR_CHARACTERS_SHOWN = 500

export interface ProgramRun {
  /** Absolute path or a name in the system's directories, then the arguments. */
  argv: readonly [string, ...string[]]
  timeoutMs: number
  /** Drop to this user; only root can. */
  user?: { uid: number; gid: number } | undefined
  signal?: AbortSignal | undefined
  /** `/` unless given; what runs long stands where it belongs, for whoever stops the host. */
  directory?: string
  /** Of standard output; 256 KiB unless given. */
  outputBytesMax?: number
  input?: string
  /** Of standard error, its end; 500 unless given. */
  stderrCharactersMax?: number
  /** Called with its id; what it returns is called at the end. */
  watch?: ((pid: number) => () => void) | undefined
}

/** Standard output. Throws with argv, exit code or signal, and the end of standard error. */
export async function runProgram(run: ProgramRun): Promise<string> {
  const [program, ...args] = run.argv
  const options = {
    timeout: run.timeoutMs,
    killSignal: 'SIGKILL' as const,
    maxBuffer: run.outputBytesMax ?? OUTPUT_BYTES_MAX,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    cwd: run.directory ?? '/',
    ...(run.user === undefined ? {} : { uid: run.user.uid, gid: run.user.gid }),
    ...(run.signal === undefined ? {} : { signal: run.signal }),
  }
  return await new Promise((resolve, reject) => {
    let unwatch: () => void = () => undefined
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      unwatch()
      if (error === null) return resolve(stdout)
      const ended = error.signal ? `signal ${error.signal}` : `code ${error.code ?? 'unknown'}`
      const said = stderr.trim().slice(-(run.stderrCharactersMax ?? STDERR_CHARACTERS_SHOWN))
      reject(new Error(`${run.argv.join(' ')} ended with ${ended}: ${said}`))
    })
    if (child.pid !== undefined && run.watch !== undefined) unwatch = run.watch(child.pid)
    // A program that ends without reading its input breaks the pipe; how it ended says enough.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(run.input ?? '')
  })
}
