// Owns the end of a long command that is interrupted: what it started is stopped in good order
// first. A process that just died would leave a whole platform running.

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const EXIT_CODE = 130

/** The process ends once all of `parts` have. */
export function endOnSignal(...parts: readonly AsyncDisposable[]): void {
  const end = async () => {
    await Promise.allSettled(parts.map((part) => part[Symbol.asyncDispose]()))
    process.exit(EXIT_CODE)
  }
  for (const signal of SIGNALS) process.once(signal, () => void end())
}
