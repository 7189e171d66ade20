// Owns that only one `up` or `down` changes a home at a time. The lock names its holder, so that
// one left by a process that died is known as such and taken over.
import { link, readFile, unlink, writeFile } from 'node:fs/promises'
import { HowdahError } from '@howdah/core/errors.ts'
import { readOptional } from './durable-file.ts'

export interface HomeLock extends AsyncDisposable {
  release(): Promise<void>
}

/** Throws `wrong-state` that names the process which holds the lock. */
export async function acquireHomeLock(path: string): Promise<HomeLock> {
  const mine = `${process.pid} ${await startTicks(process.pid)}`
  const temporary = `${path}.${process.pid}`
  await writeFile(temporary, mine, { mode: 0o600 })
  try {
    // Two attempts: the second after a stale lock was removed.
    for (const mayRetry of [true, false]) {
      if (await tryLink(temporary, path)) return makeLock(path, mine)
      const holder = await readOptional(path)
      if (!mayRetry || (holder !== undefined && (await isHeld(holder)))) throw busy(holder)
      await unlink(path).catch(() => {})
    }
    throw new Error('BUG: the lock loop fell through')
  } finally {
    await unlink(temporary)
  }
}

function makeLock(path: string, mine: string): HomeLock {
  const release = async () => {
    if ((await readOptional(path)) === mine) await unlink(path)
  }
  return { release, [Symbol.asyncDispose]: release }
}

// A link appears with its content or not at all, where a created file is empty for a moment.
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function isHeld(holder: string): Promise<boolean> {
  const [pid, ticks] = holder.split(' ')
  if (!/^[0-9]+$/.test(pid ?? '')) return false
  return (await startTicks(Number(pid))) === ticks
}

async function startTicks(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function busy(holder: string | undefined): HowdahError {
  const pid = holder?.split(' ')[0] ?? 'unknown'
  return new HowdahError(
    'wrong-state',
    `another howdah up or down works on this home (pid ${pid})`,
    {
      extra: { hint: 'wait until it is done' },
    },
  )
}
