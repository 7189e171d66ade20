// Owns the last resort of every wait: a promise of somebody else's that may never settle.

/**
 * Settles as `work` does, or rejects after `timeoutMs`. The work itself goes on: whoever started it
 * ends it.
 */
export async function withDeadline<T>(
  work: Promise<T>,
  timeoutMs: number,
  what: string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    // What comes after the deadline concerns nobody.
    work.catch(() => undefined)
  }
}
