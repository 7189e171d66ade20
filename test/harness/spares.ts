// Owns the spare data directories of a platform's hosts, as tests and benches see them.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SPARES } from '@howdah/core/spare-directory.ts'

/** Absolute paths, by host, of what is there, half made or whole. */
export async function listSpares(home: string): Promise<string[][]> {
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
export function areMade(spares: readonly string[][]): boolean {
  return spares.every(([first, ...more]) => more.length === 0 && isWhole(first))
}

function isWhole(path: string | undefined): boolean {
  return path !== undefined && !/\/(making|dropped)-[^/]*$/.test(path)
}
