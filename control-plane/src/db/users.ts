// Owns the app_user and token tables.
import type { Token, User, UserRole } from '@howdah/core/contract/users.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import { isUniqueViolation, type Queryable } from '../database.ts'

interface UserRow {
  id: string
  name: string
  full_name: string
  role: UserRole
  version: number
  created_at: Date
}

interface TokenRow {
  id: string
  name: string
  prefix: string
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
}

const USER_COLUMNS = 'id, name, full_name, role, version, created_at'
const TOKEN_COLUMNS = 'id, name, prefix, created_at, expires_at, last_used_at'

const toUser = (row: UserRow): User => ({ ...row, created_at: row.created_at.toISOString() })
const toToken = (row: TokenRow): Token => ({
  ...row,
  created_at: row.created_at.toISOString(),
  expires_at: row.expires_at?.toISOString() ?? null,
  last_used_at: row.last_used_at?.toISOString() ?? null,
})

export async function insertUser(
  db: Queryable,
  user: { name: string; fullName: string; role: UserRole },
): Promise<User> {
  try {
    const { rows } = await db.query<UserRow>(
      `insert into app_user (id, name, full_name, role) values ($1, $2, $3, $4)
       returning ${USER_COLUMNS}`,
      [newId('user'), user.name, user.fullName, user.role],
    )
    return toUser(rows[0] as UserRow)
  } catch (error) {
    if (!isUniqueViolation(error, 'app_user_name_key')) throw error
    throw new HowdahError('name-taken', `there is a user ${user.name} already`, { cause: error })
  }
}

/** By id or name. */
export async function findUser(db: Queryable, reference: string): Promise<User | undefined> {
  const { rows } = await db.query<UserRow>(
    `select ${USER_COLUMNS} from app_user where id = $1 or name = $1`,
    [reference],
  )
  return rows[0] === undefined ? undefined : toUser(rows[0])
}

export async function listUsers(db: Queryable, after: string, limit: number): Promise<User[]> {
  const { rows } = await db.query<UserRow>(
    `select ${USER_COLUMNS} from app_user where id > $1 order by id limit $2`,
    [after, limit],
  )
  return rows.map(toUser)
}

export async function countUsers(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ count: number }>('select count(*) as count from app_user')
  return rows[0]?.count ?? 0
}

/** Undefined when the version is not the present one. */
export async function updateUser(
  db: Queryable,
  id: string,
  version: number,
  change: { fullName?: string | undefined; role?: UserRole | undefined },
): Promise<User | undefined> {
  const { rows } = await db.query<UserRow>(
    `update app_user set full_name = coalesce($3, full_name), role = coalesce($4, role),
       version = version + 1
     where id = $1 and version = $2 returning ${USER_COLUMNS}`,
    [id, version, change.fullName ?? null, change.role ?? null],
  )
  return rows[0] === undefined ? undefined : toUser(rows[0])
}

export async function deleteUser(db: Queryable, id: string): Promise<void> {
  await db.query('delete from app_user where id = $1', [id])
}

/**
 * Administrators other than this user, with all administrators locked: of two that demote each
 * other at the same time, the second waits, then finds itself the last one.
 */
export async function countOtherAdministrators(tx: Queryable, id: string): Promise<number> {
  const { rows } = await tx.query<{ id: string }>(
    "select id from app_user where role = 'administrator' order by id for update",
  )
  return rows.filter((row) => row.id !== id).length
}

export async function insertToken(
  db: Queryable,
  token: { userId: string; name: string; hash: Buffer; prefix: string; expiresInDays?: number },
): Promise<Token> {
  const { rows } = await db.query<TokenRow>(
    `insert into token (id, user_id, name, hash, prefix, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(days => $6)) returning ${TOKEN_COLUMNS}`,
    [
      newId('token'),
      token.userId,
      token.name,
      token.hash,
      token.prefix,
      token.expiresInDays ?? null,
    ],
  )
  return toToken(rows[0] as TokenRow)
}

export async function listTokens(db: Queryable, userId: string): Promise<Token[]> {
  const { rows } = await db.query<TokenRow>(
    `select ${TOKEN_COLUMNS} from token where user_id = $1 order by id`,
    [userId],
  )
  return rows.map(toToken)
}

export async function deleteToken(db: Queryable, userId: string, id: string): Promise<boolean> {
  const { rowCount } = await db.query('delete from token where user_id = $1 and id = $2', [
    userId,
    id,
  ])
  return rowCount === 1
}

/** The user of a live token. Notes the use at most once a minute, so reads do not become writes. */
export async function findTokenUser(db: Queryable, hash: Buffer): Promise<User | undefined> {
  const { rows } = await db.query<UserRow & { token_id: string; stale: boolean }>(
    `select u.id, u.name, u.full_name, u.role, u.version, u.created_at, t.id as token_id,
       coalesce(t.last_used_at < now() - interval '1 minute', true) as stale
     from token t join app_user u on u.id = t.user_id
     where t.hash = $1 and (t.expires_at is null or t.expires_at > now())`,
    [hash],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const { token_id, stale, ...user } = row
  if (stale) await db.query('update token set last_used_at = now() where id = $1', [token_id])
  return toUser(user)
}
