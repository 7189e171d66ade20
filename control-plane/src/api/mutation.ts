// Owns what every changing request shares: one transaction, an Idempotency-Key that makes fifty of
// them one, and If-Match. The work, the key and the reply commit together, so a crash leaves all or
// nothing.
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Queryable } from '../database.ts'
import { claimKey, storeReply } from '../db/idempotency.ts'
import type { Platform } from '../operations/operation.ts'
import { sha256 } from '../sealing.ts'
import { userOf } from './access.ts'

const KEY_PATTERN = /^[\x21-\x7e]{1,255}$/

export interface Answer {
  status: number
  body: unknown
  headers?: Record<string, string>
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const header = request.headers['idempotency-key']
  if (header === undefined) return undefined
  if (typeof header !== 'string' || !KEY_PATTERN.test(header)) {
    throw new HowdahError('bad-request', 'Idempotency-Key: 1 to 255 printable characters')
  }
  return header
}

function send(reply: FastifyReply, answer: Answer) {
  for (const [name, value] of Object.entries(answer.headers ?? {})) reply.header(name, value)
  reply.code(answer.status)
  return answer.status === 204 ? reply.send() : reply.send(answer.body)
}

/**
 * Runs the work once per user and key. The work uses `tx` for everything, or it is not undone with
 * it.
 */
export async function mutate(
  platform: Platform,
  request: FastifyRequest,
  reply: FastifyReply,
  work: (tx: Queryable) => Promise<Answer>,
) {
  const { database, sealer } = platform
  const key = idempotencyKey(request)
  const userId = userOf(request).id
  const answer = await database.transaction(async (tx): Promise<Answer> => {
    if (key === undefined) return work(tx)
    const fingerprint = sha256(
      JSON.stringify([request.method, request.url, request.headers['if-match'], request.body]),
    )
    const claim = await claimKey(tx, sealer, { userId, key, fingerprint })
    switch (claim.kind) {
      case 'replay':
        return JSON.parse(claim.reply.body) as Answer
      case 'mismatch':
        throw new HowdahError('idempotency-mismatch', 'the key belongs to another request')
      case 'in-progress':
        throw new HowdahError('idempotency-in-progress', 'the first request is still handled')
      case 'mine': {
        const fresh = await work(tx)
        const body = JSON.stringify(fresh)
        await storeReply(tx, sealer, { userId, key }, { status: fresh.status, body })
        return fresh
      }
    }
  })
  return send(reply, answer)
}

export function etag(version: number): string {
  return `"${version}"`
}

/** Throws unless If-Match names the present version, or is `*`. */
export function requireMatch(request: FastifyRequest, version: number): void {
  const header = request.headers['if-match']
  if (header === undefined) {
    throw new HowdahError('if-match-required', 'If-Match is missing')
  }
  if (header === '*') return
  const versions = header.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  if (!versions.includes(etag(version))) {
    throw new HowdahError('version-mismatch', `the present version is ${version}`)
  }
}
