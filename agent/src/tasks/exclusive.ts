// Owns that two tasks never work on one directory: a step that runs again sends a new task while
// the old one may still be at it. The newer one has the old one stop, and waits for its end.

export interface Exclusive {
  run<T>(key: string, signal: AbortSignal, body: (signal: AbortSignal) => Promise<T>): Promise<T>
}

export function makeExclusive(): Exclusive {
  const holders = new Map<string, { stop: AbortController; ended: Promise<unknown> }>()
  return {
    async run(key, signal, body) {
      const before = holders.get(key)
      const stop = new AbortController()
      const work = (async () => {
        before?.stop.abort()
        await before?.ended
        // An even newer one may have come meanwhile.
        stop.signal.throwIfAborted()
        return await body(AbortSignal.any([signal, stop.signal]))
      })()
      // Its failure is the caller's; whoever comes next only waits for the end.
      const holder = { stop, ended: work.catch(() => undefined) }
      holders.set(key, holder)
      try {
        return await work
      } finally {
        if (holders.get(key) === holder) holders.delete(key)
      }
    },
  }
}
