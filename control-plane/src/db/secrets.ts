// Owns the secret table: every value is sealed for its owner and name before it gets here.
import type { Queryable } from '../database.ts'
import type { Sealer } from '../sealing.ts'

const purpose = (owner: string, name: string) => `secret:${owner}:${name}`

/**
 * Keeps the first value: two that race, or a step that runs again, end with one secret. Returns
 * that one.
 */
export async function ensureSecret(
  db: Queryable,
  sealer: Sealer,
  owner: string,
  name: string,
  make: () => string | Promise<string>,
): Promise<string> {
  const before = await readSecret(db, sealer, owner, name)
  if (before !== undefined) return before
  const sealed = sealer.seal(purpose(owner, name), await make())
  await db.query(
    'insert into secret (owner, name, sealed) values ($1, $2, $3) on conflict do nothing',
    [owner, name, sealed],
  )
  const kept = await readSecret(db, sealer, owner, name)
  if (kept === undefined) throw new Error('BUG: a secret vanished while it was made')
  return kept
}

/** The one before is gone with the commit. */
export async function replaceSecret(
  tx: Queryable,
  sealer: Sealer,
  owner: string,
  name: string,
  value: string,
): Promise<void> {
  await tx.query(
    `insert into secret (owner, name, sealed) values ($1, $2, $3)
     on conflict (owner, name) do update set sealed = $3`,
    [owner, name, sealer.seal(purpose(owner, name), value)],
  )
}

export async function readSecret(
  db: Queryable,
  sealer: Sealer,
  owner: string,
  name: string,
): Promise<string | undefined> {
  const { rows } = await db.query<{ sealed: Buffer }>(
    'select sealed from secret where owner = $1 and name = $2',
    [owner, name],
  )
  const row = rows[0]
  return row === undefined ? undefined : sealer.open(purpose(owner, name), row.sealed)
}

/** All secrets of an owner by name. */
export async function readSecrets(
  db: Queryable,
  sealer: Sealer,
  owner: string,
): Promise<Map<string, string>> {
  const { rows } = await db.query<{ name: string; sealed: Buffer }>(
    'select name, sealed from secret where owner = $1',
    [owner],
  )
  return new Map(rows.map((row) => [row.name, sealer.open(purpose(owner, row.name), row.sealed)]))
}

export async function deleteSecret(db: Queryable, owner: string, name: string): Promise<void> {
  await db.query('delete from secret where owner = $1 and name = $2', [owner, name])
}

export async function deleteSecrets(db: Queryable, owner: string): Promise<void> {
  await db.query('delete from secret where owner = $1', [owner])
}
