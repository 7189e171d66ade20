// Owns the spare data directories of a platform's hosts in this bench: whether they are there, so
// that making one never falls into what is measured, and their absence, as on a host that just
// started.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SPARES } from '@howdah/core/spare-directory.ts'
import { pollUntil } from './poll.ts'

const WAIT = { intervalMs: 250, timeoutMs: 300_000 }

async function listSpares(home: string): Promise<string[][]> {
  const hosts = join(home, 'hosts')
  return await Promise.all(
    (await readdir(hosts)).map(async (host) => {
      const spares = join(hosts, host, SPARES)
      const names = await readdir(spares).catch(() => [] as string[])
      return names.map((name) => join(spares, name))
    }),
  )
}

/** Each host has one, and makes none. */
export async function waitSpares(home: string): Promise<void> {
  await pollUntil('a spare data directory on each host', WAIT, async () => {
    const spares = await listSpares(home)
    return spares.every(
      ([first, ...more]) => first?.includes('/making-') === false && more.length === 0,
    )
  })
}

export async function removeSpares(home: string): Promise<void> {
  for (const path of (await listSpares(home)).flat()) await rm(path, { recursive: true })
}
