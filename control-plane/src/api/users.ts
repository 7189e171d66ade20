// Owns /v1/users, their tokens, and /v1/whoami.
import { randomBytes } from 'node:crypto'
import { PageQuery, pageOf, ResourceRef } from '@howdah/core/contract/resource.ts'
import {
  Token,
  TokenCreate,
  TokenCreated,
  User,
  UserCreate,
  UserUpdate,
  WhoAmI,
} from '@howdah/core/contract/users.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Queryable } from '../database.ts'
import { addEvent } from '../db/events.ts'
import {
  countOtherAdministrators,
  deleteToken,
  deleteUser,
  findUser,
  insertToken,
  insertUser,
  listTokens,
  listUsers,
  updateUser,
} from '../db/users.ts'
import { sha256 } from '../sealing.ts'
import { permissionsOf, userOf } from './access.ts'
import type { Api } from './app.ts'
import { etag, mutate, requireMatch } from './mutation.ts'
import { parseCursor, toPage } from './page.ts'

const UserParams = Type.Object({ user: ResourceRef })
const TokenParams = Type.Object({ user: ResourceRef, token: ResourceRef })
const TOKENS_URL = '/v1/users/:user/tokens'
const tags = ['users']

export async function requireUser(db: Queryable, reference: string): Promise<User> {
  const user = await findUser(db, reference)
  if (user === undefined) throw new HowdahError('not-found', `there is no user ${reference}`)
  return user
}

/** A token and what is stored of it: 256 random bits, of which the database gets a hash. */
export function generateToken(): { token: string; hash: Buffer; prefix: string } {
  const token = `hwt_${randomBytes(32).toString('base64url')}`
  return { token, hash: sha256(token), prefix: token.slice(0, 8) }
}

/** Administrators act on anyone, everybody else on themselves; a stranger looks like nobody. */
async function requireSelfOrAdministrator(
  db: Queryable,
  request: FastifyRequest,
  reference: string,
): Promise<User> {
  const actor = userOf(request)
  if (actor.role !== 'administrator' && reference !== actor.id && reference !== actor.name) {
    throw new HowdahError('not-found', `there is no user ${reference}`)
  }
  return requireUser(db, reference)
}

async function keepAnAdministrator(tx: Queryable, user: User): Promise<void> {
  if (user.role === 'administrator' && (await countOtherAdministrators(tx, user.id)) === 0) {
    throw new HowdahError('wrong-state', `${user.name} is the last administrator`)
  }
}

export function registerUsers(api: Api): void {
  registerUserReading(api)
  registerUserCreation(api)
  registerUserChange(api)
  registerUserDeletion(api)
  registerTokenReading(api)
  registerTokenCreation(api)
  registerTokenDeletion(api)
}

function registerUserReading({ app, platform }: Api): void {
  const { database } = platform

  app.get(
    '/v1/whoami',
    {
      config: { access: 'self' },
      schema: { tags, summary: 'The user of the token', response: { 200: WhoAmI } },
    },
    async (request) => {
      const user = userOf(request)
      return { user, permissions: [...permissionsOf(user)] }
    },
  )

  app.get(
    '/v1/users',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List users',
        querystring: PageQuery,
        response: { 200: pageOf(User) },
      },
    },
    async ({ query }) => {
      const rows = await listUsers(database, parseCursor(query.cursor), query.limit + 1)
      return toPage(rows, query.limit, (user) => user)
    },
  )

  app.get(
    '/v1/users/:user',
    {
      config: { access: 'read' },
      schema: { tags, summary: 'Show a user', params: UserParams, response: { 200: User } },
    },
    async (request, reply) => {
      const user = await requireUser(database, request.params.user)
      reply.header('etag', etag(user.version))
      return user
    },
  )
}

function registerUserCreation({ app, platform }: Api): void {
  app.post(
    '/v1/users',
    {
      config: { access: 'administer' },
      schema: { tags, summary: 'Create a user', body: UserCreate, response: { 201: User } },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const { name, full_name, role } = request.body
        const user = await insertUser(tx, { name, fullName: full_name ?? '', role })
        await addEvent(tx, {
          kind: 'user.created',
          message: `user ${name} was created by ${userOf(request).name}`,
        })
        const headers = { location: `/v1/users/${user.id}`, etag: etag(user.version) }
        return { status: 201, body: user, headers }
      }),
  )
}

function registerUserChange({ app, platform }: Api): void {
  for (const method of ['PATCH', 'PUT'] as const) {
    app.route({
      method,
      url: '/v1/users/:user',
      config: { access: 'administer' },
      schema: {
        tags,
        summary: method === 'PATCH' ? 'Change a user' : 'Change a user (the same as PATCH)',
        params: UserParams,
        body: UserUpdate,
        response: { 200: User },
      },
      handler: (request, reply) =>
        mutate(platform, request, reply, async (tx) => {
          const user = await requireUser(tx, request.params.user)
          requireMatch(request, user.version)
          const { full_name, role } = request.body
          if (role !== undefined && role !== 'administrator') await keepAnAdministrator(tx, user)
          const change = { fullName: full_name, role }
          const changed = await updateUser(tx, user.id, user.version, change)
          if (changed === undefined) throw new HowdahError('version-mismatch', 'changed meanwhile')
          await addEvent(tx, {
            kind: 'user.changed',
            message: `user ${user.name} was changed by ${userOf(request).name}`,
          })
          return { status: 200, body: changed, headers: { etag: etag(changed.version) } }
        }),
    })
  }
}

function registerUserDeletion({ app, platform }: Api): void {
  app.delete(
    '/v1/users/:user',
    {
      config: { access: 'administer' },
      schema: {
        tags,
        summary: 'Delete a user and its tokens',
        params: UserParams,
        response: { 204: Type.Null() },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const user = await requireUser(tx, request.params.user)
        await keepAnAdministrator(tx, user)
        await deleteUser(tx, user.id)
        await addEvent(tx, {
          kind: 'user.deleted',
          message: `user ${user.name} was deleted by ${userOf(request).name}`,
        })
        return { status: 204, body: null }
      }),
  )
}

function registerTokenReading({ app, platform }: Api): void {
  const { database } = platform
  app.get(
    TOKENS_URL,
    {
      config: { access: 'self' },
      schema: {
        tags,
        summary: 'List the tokens of a user',
        params: UserParams,
        response: { 200: Type.Object({ data: Type.Array(Token) }) },
      },
    },
    async (request) => {
      const user = await requireSelfOrAdministrator(database, request, request.params.user)
      return { data: await listTokens(database, user.id) }
    },
  )
}

function registerTokenCreation({ app, platform }: Api): void {
  app.post(
    TOKENS_URL,
    {
      config: { access: 'self' },
      schema: {
        tags,
        summary: 'Create a token; it is shown in this reply only',
        params: UserParams,
        body: TokenCreate,
        response: { 201: TokenCreated },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const user = await requireSelfOrAdministrator(tx, request, request.params.user)
        const { token, hash, prefix } = generateToken()
        const { name, expires_in_days } = request.body
        const stored = await insertToken(tx, {
          userId: user.id,
          name,
          hash,
          prefix,
          ...(expires_in_days === undefined ? {} : { expiresInDays: expires_in_days }),
        })
        await addEvent(tx, {
          kind: 'token.created',
          message: `a token for ${user.name} was created by ${userOf(request).name}`,
        })
        return { status: 201, body: { token, ...stored } }
      }),
  )
}

function registerTokenDeletion({ app, platform }: Api): void {
  app.delete(
    `${TOKENS_URL}/:token`,
    {
      config: { access: 'self' },
      schema: {
        tags,
        summary: 'Revoke a token; the next request with it is refused',
        params: TokenParams,
        response: { 204: Type.Null() },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const user = await requireSelfOrAdministrator(tx, request, request.params.user)
        const found = await deleteToken(tx, user.id, request.params.token)
        if (!found) throw new HowdahError('not-found', 'there is no such token')
        await addEvent(tx, {
          kind: 'token.deleted',
          message: `a token of ${user.name} was revoked by ${userOf(request).name}`,
        })
        return { status: 204, body: null }
      }),
  )
}
