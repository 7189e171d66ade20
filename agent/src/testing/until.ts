// Owns waiting in tests: for a condition, until a deadline, with the last observation in the error.

export async function until<Observed>(
  what: string,
  observe: () => Promise<Observed> | Observed,
  holds: (observed: Observed) => boolean,
  timeoutMs = 20_000,
): Promise<Observed> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const observed = await observe()
    if (holds(observed)) return observed
    if (performance.now() > deadline) {
      const last = JSON.stringify(observed, null, 1)?.slice(0, 4000)
      throw new Error(`waited ${timeoutMs} ms for ${what}; last seen: ${last}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}
