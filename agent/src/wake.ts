// Owns the one way in which a loop of the agent sleeps: until it is woken, its time is up, or the
// agent stops. A wake that comes while nobody sleeps is kept, so none is lost between two rounds.

export interface Wake {
  wake(): void
  /**
   * Resolves at the next wake, after `timeoutMs`, or when `signal` aborts; never rejects.
   * For one sleeper at a time.
   */
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>
}

export function makeWake(): Wake {
  let woken = false
  let release: () => void = () => undefined
  return {
    wake() {
      woken = true
      release()
    },
    async wait(timeoutMs, signal) {
      if (!woken && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, timeoutMs)
          signal.addEventListener('abort', resolve as () => void, { once: true })
          release = () => {
            clearTimeout(timer)
            signal.removeEventListener('abort', resolve as () => void)
            resolve()
          }
        })
        release()
        release = () => undefined
      }
      woken = false
    },
  }
}

/** Sleeps; ends early, without an error, when `signal` aborts. */
export async function pause(timeoutMs: number, signal: AbortSignal): Promise<void> {
  await makeWake().wait(timeoutMs, signal)
}
