// Owns the idempotency table: the first request with a key does the work, the others get its reply.
import type { Queryable } from '../database.ts'
import type { Sealer } from '../sealing.ts'

export interface StoredReply {
  status: number
  body: string
}

export type Claim =
  | { kind: 'mine' }
  | { kind: 'mismatch' }
  | { kind: 'in-progress' }
  | { kind: 'replay'; reply: StoredReply }

const purpose = (userId: string, key: string) => `idempotency:${userId}:${key}`

/**
 * Called in the transaction that does the work. The insert waits for a concurrent request with the
 * same key until that one commits or rolls back, so exactly one does the work, and none sees it
 * half-done.
 */
export async function claimKey(
  tx: Queryable,
  sealer: Sealer,
  request: { userId: string; key: string; fingerprint: Buffer },
): Promise<Claim> {
  const { rowCount } = await tx.query(
    `insert into idempotency (user_id, key, fingerprint) values ($1, $2, $3)
     on conflict (user_id, key) do nothing`,
    [request.userId, request.key, request.fingerprint],
  )
  if (rowCount === 1) return { kind: 'mine' }
  const { rows } = await tx.query<{
    fingerprint: Buffer
    status: number | null
    reply: Buffer | null
  }>('select fingerprint, status, reply from idempotency where user_id = $1 and key = $2', [
    request.userId,
    request.key,
  ])
  const row = rows[0]
  if (row === undefined) return { kind: 'in-progress' }
  if (!row.fingerprint.equals(request.fingerprint)) return { kind: 'mismatch' }
  if (row.status === null || row.reply === null) return { kind: 'in-progress' }
  const body = sealer.open(purpose(request.userId, request.key), row.reply)
  return { kind: 'replay', reply: { status: row.status, body } }
}

export async function storeReply(
  tx: Queryable,
  sealer: Sealer,
  request: { userId: string; key: string },
  reply: StoredReply,
): Promise<void> {
  await tx.query('update idempotency set status = $3, reply = $4 where user_id = $1 and key = $2', [
    request.userId,
    request.key,
    reply.status,
    sealer.seal(purpose(request.userId, request.key), reply.body),
  ])
}

export async function deleteOldKeys(db: Queryable): Promise<void> {
  await db.query("delete from idempotency where created_at < now() - interval '24 hours'")
}
