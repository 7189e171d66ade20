// Owns users and tokens as the API shows them.
import { type Static, Type } from 'typebox'
import { Timestamp } from './resource.ts'

/** administrator: everything; operator: clusters and what is in them; viewer: reads. */
export const USER_ROLES = ['administrator', 'operator', 'viewer'] as const
export const UserRole = Type.Enum([...USER_ROLES])

/** Never like an id: a user that is named as another's id would be taken for that one. */
export const UserName = Type.String({ pattern: '^(?!usr_)[a-z0-9][a-z0-9._@+-]{0,62}$' })
const FullName = Type.String({ maxLength: 200, pattern: '^[^\\u0000]*$' })

export const User = Type.Object({
  id: Type.String(),
  name: UserName,
  full_name: FullName,
  role: UserRole,
  version: Type.Integer(),
  created_at: Timestamp,
})
export const UserCreate = Type.Object(
  { name: UserName, full_name: Type.Optional(FullName), role: UserRole },
  { additionalProperties: false },
)
export const UserUpdate = Type.Object(
  { full_name: Type.Optional(FullName), role: Type.Optional(UserRole) },
  { additionalProperties: false, minProperties: 1 },
)

const TokenName = Type.String({ minLength: 1, maxLength: 100, pattern: '^[^\\u0000]*$' })
export const Token = Type.Object({
  id: Type.String(),
  name: Type.String(),
  /** The first characters, so that a person can tell tokens apart. */
  prefix: Type.String(),
  created_at: Timestamp,
  expires_at: Type.Union([Timestamp, Type.Null()]),
  last_used_at: Type.Union([Timestamp, Type.Null()]),
})
export const TokenCreate = Type.Object(
  { name: TokenName, expires_in_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })) },
  { additionalProperties: false },
)
/** The only reply that ever holds the token itself. */
export const TokenCreated = Type.Object({ token: Type.String(), ...Token.properties })

export const WhoAmI = Type.Object({ user: User, permissions: Type.Array(Type.String()) })

export type User = Static<typeof User>
export type UserRole = Static<typeof UserRole>
export type UserCreate = Static<typeof UserCreate>
export type UserUpdate = Static<typeof UserUpdate>
export type Token = Static<typeof Token>
export type TokenCreated = Static<typeof TokenCreated>
export type WhoAmI = Static<typeof WhoAmI>
