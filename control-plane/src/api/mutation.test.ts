// Proves, on a real platform database, that a request with an Idempotency-Key happens once however
// often it is sent, that a crash leaves all or nothing, and what If-Match lets through.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Database } from '../database.ts'
import { insertUser } from '../db/users.ts'
import type { Platform } from '../operations/operation.ts'
import { makeSealer } from '../sealing.ts'
import { startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { type Answer, mutate, requireMatch } from './mutation.ts'

let own: TestDatabase
let database: Database
let platform: Platform
let userId: string
let otherId: string
const SECRET = 'a-password-that-is-shown-once'

before(async () => {
  own = await startDatabase()
  database = own.database
  platform = { database, sealer: makeSealer(randomBytes(32)) } as Platform
  userId = (await insertUser(database, { name: 'a', fullName: '', role: 'operator' })).id
  otherId = (await insertUser(database, { name: 'b', fullName: '', role: 'operator' })).id
  await database.query('create table made (number serial primary key)')
})
after(async () => {
  await own?.stop()
})
beforeEach(async () => {
  await database.query('truncate made restart identity')
  await database.query('truncate idempotency')
})

interface Sent {
  status: number
  body: unknown
  headers: Record<string, string>
}

/** A request as far as `mutate` looks at it, and what it was answered. */
async function send(
  request: { key?: string; body?: unknown; user?: string; url?: string; ifMatch?: string },
  work?: (answer: Answer) => Promise<void>,
): Promise<Sent> {
  const sent: Sent = { status: 0, body: undefined, headers: {} }
  const reply = {
    header: (name: string, value: string) => {
      sent.headers[name] = value
      return reply
    },
    code: (status: number) => {
      sent.status = status
      return reply
    },
    send: (body: unknown) => {
      sent.body = body
      return reply
    },
  }
  const headers = {
    ...(request.key === undefined ? {} : { 'idempotency-key': request.key }),
    ...(request.ifMatch === undefined ? {} : { 'if-match': request.ifMatch }),
  }
  const { url = '/v1/x', body = {} } = request
  const parsed = { method: 'POST', url, headers, body, user: { id: request.user ?? userId } }
  await mutate(
    platform,
    parsed as unknown as FastifyRequest,
    reply as unknown as FastifyReply,
    async (tx) => {
      const { rows } = await tx.query<{ number: number }>(
        'insert into made default values returning number',
      )
      const answer = {
        status: 202,
        body: { made: rows[0]?.number, SECRET },
        headers: { etag: '"1"' },
      }
      await work?.(answer)
      return answer
    },
  )
  return sent
}

async function countMade(): Promise<number> {
  const { rows } = await database.query<{ count: number }>('select count(*) as count from made')
  return rows[0]?.count ?? 0
}

const codeOf = (wanted: string) => (error: unknown) =>
  error instanceof HowdahError && error.code === wanted

test('fifty requests at once with one key do the work once and get one answer', async () => {
  const sent = await Promise.all(Array.from({ length: 50 }, () => send({ key: 'once' })))
  assert.equal(await countMade(), 1)
  for (const one of sent) assert.deepEqual(one, sent[0])
  assert.equal(sent[0]?.headers['etag'], '"1"')
})

test('without a key every request does its work', async () => {
  await Promise.all([send({}), send({})])
  assert.equal(await countMade(), 2)
})

test('a key belongs to one user and one request', async () => {
  await send({ key: 'k' })
  await send({ key: 'k', user: otherId })
  assert.equal(await countMade(), 2)
  for (const other of [{ body: { a: 1 } }, { url: '/v1/y' }, { ifMatch: '*' }]) {
    await assert.rejects(send({ key: 'k', ...other }), codeOf('idempotency-mismatch'))
  }
  assert.equal(await countMade(), 2)
})

test('work that fails leaves neither its effect nor the key: the next try is a first', async () => {
  const fail = async () => {
    throw new Error('half-way')
  }
  await assert.rejects(send({ key: 'k' }, fail), /half-way/)
  assert.equal(await countMade(), 0)
  assert.equal((await send({ key: 'k' })).status, 202)
  assert.equal(await countMade(), 1)
})

test('a failure of the first lets one of those that wait do the work', async () => {
  let attempts = 0
  const failFirst = async () => {
    attempts += 1
    if (attempts === 1) throw new Error('half-way')
  }
  const settled = await Promise.allSettled(
    Array.from({ length: 10 }, () => send({ key: 'k' }, failFirst)),
  )
  assert.equal(settled.filter(({ status }) => status === 'rejected').length, 1)
  assert.equal(await countMade(), 1)
})

test('the stored reply is sealed: the password in it is not in the database', async () => {
  await send({ key: 'k' })
  const { rows } = await database.query<{ reply: Buffer }>('select reply from idempotency')
  assert.equal(rows[0]?.reply.includes(SECRET), false)
  const moved = 'update idempotency set user_id = $1'
  await database.query(moved, [otherId])
  // Sealed for the other user: whoever moves a row reads nothing.
  await assert.rejects(send({ key: 'k', user: otherId }))
})

test('a key is 1 to 255 printable characters', async () => {
  for (const key of ['', ' ', 'a b', 'a\n', 'é', 'x'.repeat(256)]) {
    await assert.rejects(send({ key }), codeOf('bad-request'), JSON.stringify(key))
  }
  await send({ key: 'x'.repeat(255) })
  assert.equal(await countMade(), 1)
})

const match = (header: string | undefined) =>
  requireMatch({ headers: { 'if-match': header } } as unknown as FastifyRequest, 7)

test('If-Match is needed, and names the present version or a star', () => {
  assert.throws(() => match(undefined), codeOf('if-match-required'))
  for (const header of ['*', '"7"', 'W/"7"', '"6", "7"', '"6",W/"7"']) match(header)
  for (const header of ['', '7', '"6"', '"77"', '"7', "'7'", '* ', '"7"x']) {
    assert.throws(() => match(header), codeOf('version-mismatch'), header)
  }
})
