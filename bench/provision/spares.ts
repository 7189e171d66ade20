// Owns the spare data directories of a platform's hosts in this bench: whether they are there, so
// that making one never falls into what is measured, and their absence, as on a host that just
// started.
import { rm } from 'node:fs/promises'
import { areMade, listSpares } from '../../test/harness/spares.ts'
import { pollUntil } from './poll.ts'

const WAIT = { intervalMs: 250, timeoutMs: 300_000 }

/** Each host has one, and makes none. */
export async function waitSpares(home: string): Promise<void> {
  const look = async () => areMade(await listSpares(home))
  await pollUntil('a spare data directory on each host', WAIT, look)
}

export async function removeSpares(home: string): Promise<void> {
  for (const path of (await listSpares(home)).flat()) await rm(path, { recursive: true })
}
