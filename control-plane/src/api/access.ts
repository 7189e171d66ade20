// Owns who may do what, in one place that a route cannot forget: a route without `config.access`
// does not start, and the hook runs before any handler, parser or validator.
import type { User, UserRole } from '@howdah/core/contract/users.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Database } from '../database.ts'
import { findTokenUser } from '../db/users.ts'
import { sha256 } from '../sealing.ts'

/**
 * public: no token. read: looks. operate: changes clusters. administer: users, hosts, the dcs.
 * self: any user.
 */
export type Access = 'public' | 'self' | 'read' | 'operate' | 'administer'

const GRANTS: Record<UserRole, readonly Access[]> = {
  viewer: ['self', 'read'],
  operator: ['self', 'read', 'operate'],
  administrator: ['self', 'read', 'operate', 'administer'],
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    user: User | undefined
  }
}

export function permissionsOf(user: User): readonly Access[] {
  return GRANTS[user.role]
}

/** The user of an authenticated request. */
export function userOf(request: FastifyRequest): User {
  if (request.user === undefined) throw new Error('BUG: a route that is not public has no user')
  return request.user
}

function bearerToken(request: FastifyRequest): string | undefined {
  const match = /^Bearer (hwt_[A-Za-z0-9_-]{43})$/i.exec(request.headers.authorization ?? '')
  return match?.[1]
}

export function installAccess(app: FastifyInstance, database: Database): void {
  app.decorateRequest('user', undefined)
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined) {
      throw new Error(`BUG: route ${route.method} ${route.url} does not say who may call it`)
    }
  })
  app.addHook('onRequest', async (request) => {
    // An unknown URL has no route and so no access: it needs a token like everything else.
    const access = request.routeOptions.config.access ?? 'self'
    if (access === 'public') return
    const token = bearerToken(request)
    const user = token === undefined ? undefined : await findTokenUser(database, sha256(token))
    if (user === undefined) {
      throw new HowdahError('not-authenticated', 'the token is missing, wrong or expired')
    }
    if (!GRANTS[user.role].includes(access)) {
      throw new HowdahError('not-allowed', `${user.role} may not ${access}`)
    }
    request.user = user
  })
}
