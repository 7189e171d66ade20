// Owns what exists once per platform: its certificate authority, the first administrator and the
// first repository.
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { generateToken } from './api/users.ts'
import { type Authority, createAuthority } from './certificates.ts'
import type { Database } from './database.ts'
import { insertRepository, listRepositories } from './db/repositories.ts'
import { ensureSecret } from './db/secrets.ts'
import { countUsers, insertToken, insertUser } from './db/users.ts'
import { SECRET } from './hosts/render-input.ts'
import type { Sealer } from './sealing.ts'

const LOCK_KEY = 7_340_004

/** Old or new after a crash, never torn; durable before it returns. */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', mode)
  try {
    await file.writeFile(text)
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const directory = await open(dirname(path), 'r')
  await directory.sync().finally(() => directory.close())
}

/**
 * Two control planes that start at once end with one authority: the lock makes the second read the
 * first's.
 */
export async function ensureAuthority(database: Database, sealer: Sealer): Promise<Authority> {
  return database.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
    const fresh = await createAuthority('howdah platform')
    return {
      keyPem: await ensureSecret(tx, sealer, 'platform', SECRET.caKey, () => fresh.keyPem),
      certificatePem: await ensureSecret(
        tx,
        sealer,
        'platform',
        SECRET.caCertificate,
        () => fresh.certificatePem,
      ),
    }
  })
}

/**
 * The user `admin` with a token in a file that only we can read. The file comes before the commit:
 * a crash in between leaves no user, and the next start writes the file anew. Does nothing when
 * there is any user.
 */
export async function ensureAdministrator(database: Database, tokenFile: string): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
    if ((await countUsers(tx)) > 0) return
    const { token, hash, prefix } = generateToken()
    const user = await insertUser(tx, {
      name: 'admin',
      fullName: 'First administrator',
      role: 'administrator',
    })
    await insertToken(tx, { userId: user.id, name: 'first start', hash, prefix })
    await writeFileAtomically(tokenFile, `${token}\n`, 0o600)
  })
}

/** The default repository of a platform that is told a directory, unless there is any already. */
export async function ensureDefaultRepository(database: Database, path: string): Promise<void> {
  if (path === '') return
  await database.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [LOCK_KEY])
    if ((await listRepositories(tx)).length > 0) return
    const settings = { path }
    await insertRepository(tx, {
      name: 'local',
      kind: 'directory',
      settings,
      isDefault: true,
      place: null,
    })
  })
}
