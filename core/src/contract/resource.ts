// Owns what every resource of the API shares: references and labels, pages, problems, default
// ports.
import { type Static, Type } from 'typebox'

/** Port of the API and of the agents' listener, unless configured otherwise. */
export const API_PORT = 7400
export const AGENT_PORT = 7401

export const Timestamp = Type.String({ format: 'date-time' })
export const ResourceRef = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'An id, or the name where the resource has one',
})

export const PageQuery = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: 200, default: 50 }),
  cursor: Type.Optional(
    Type.String({ maxLength: 200, description: '`next_cursor` of the page before' }),
  ),
})

export function pageOf<T extends Type.TSchema>(item: T) {
  return Type.Object({
    data: Type.Array(item),
    next_cursor: Type.Union([Type.String(), Type.Null()], { description: 'null on the last page' }),
  })
}

/** RFC 9457. `code` is the catalogue's and stable; `hint` says what to do next. */
export const Problem = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.String(),
  hint: Type.String(),
  retryable: Type.Boolean(),
  request_id: Type.String(),
  /** The operation in the way, for `operation-running`. */
  operation_id: Type.Optional(Type.String()),
  errors: Type.Optional(
    Type.Array(Type.Object({ pointer: Type.String(), message: Type.String() })),
  ),
})
export type Problem = Static<typeof Problem>

/**
 * Labels are free text for people; they are stored and shown, and never reach a configuration file.
 */
export const Labels = Type.Record(
  Type.String({ pattern: '^[^\\u0000]{1,63}$' }),
  Type.String({ pattern: '^[^\\u0000]*$', maxLength: 255 }),
  { maxProperties: 32 },
)
