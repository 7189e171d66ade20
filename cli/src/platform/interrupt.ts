// Owns Ctrl-C and the other signals that ask `up` to end: the first begins an orderly stop, a later
// one says what the stop waits for. Nothing makes it exit at once, since processes would be left
// behind.

export interface Interrupt extends Disposable {
  signal: AbortSignal
  /** Called at every signal after the first. */
  onRepeat(action: () => void): void
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
// npm passes on the SIGINT that the terminal has sent already: that is not a second Ctrl-C.
const ECHO_MS = 300

export function listenForInterrupt(): Interrupt {
  const controller = new AbortController()
  let repeat = () => {}
  let firstAtMs = 0
  const handle = () => {
    if (!controller.signal.aborted) {
      firstAtMs = performance.now()
      controller.abort(new Error('interrupted'))
    } else if (performance.now() - firstAtMs > ECHO_MS) repeat()
  }
  for (const name of SIGNALS) process.on(name, handle)
  return {
    signal: controller.signal,
    onRepeat: (action) => {
      repeat = action
    },
    [Symbol.dispose]: () => {
      for (const name of SIGNALS) process.off(name, handle)
    },
  }
}
