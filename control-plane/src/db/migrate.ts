// Owns the schema's versions: forward-only .sql files, each in one transaction, recorded by name
// and hash.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Database } from '../database.ts'

const DIRECTORY = new URL('./migrations/', import.meta.url)
// Any constant: two control planes that start at once must not migrate at once.
const LOCK_KEY = 7_340_001

/**
 * Applies what is missing; safe to call from several processes at once. Refuses an edited
 * migration.
 */
export async function migrate(database: Database): Promise<string[]> {
  const names = (await readdir(DIRECTORY)).filter((name) => name.endsWith('.sql')).sort()
  return database.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
    await tx.query(
      `create table if not exists migration (
         name text primary key, hash text not null, at timestamptz not null default now())`,
    )
    const { rows } = await tx.query<{ name: string; hash: string }>(
      'select name, hash from migration',
    )
    const known = new Map(rows.map((row) => [row.name, row.hash]))
    const applied: string[] = []
    for (const name of names) {
      const text = await readFile(new URL(name, DIRECTORY), 'utf8')
      const hash = createHash('sha256').update(text).digest('hex')
      const before = known.get(name)
      if (before === hash) continue
      if (before !== undefined)
        throw new Error(`migration ${name} was changed after it was applied`)
      await tx.query(text)
      await tx.query('insert into migration (name, hash) values ($1, $2)', [name, hash])
      applied.push(name)
    }
    return applied
  })
}
