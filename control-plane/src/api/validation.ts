// Owns how requests are parsed: TypeBox schemas, strict for bodies (no coercion, nothing removed
// silently), with text turned into numbers only where HTTP knows only text. Text that PostgreSQL
// cannot store is refused for all.
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyRequest, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'

const DEPTH_MAX = 20

export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema)
  const fromText = httpPart === 'querystring' || httpPart === 'params'
  return (input: unknown) => {
    const filled = Value.Default(schema, structuredClone(input ?? {}))
    const value = fromText ? readText(schema, filled) : filled
    if (validator.Check(value)) return { value }
    const errors = [...validator.Errors(value)].slice(0, 20).map((error) => ({
      keyword: error.keyword,
      instancePath: error.instancePath,
      schemaPath: error.schemaPath,
      params: {},
      message: error.message,
    }))
    return { error: errors as never }
  }
}

/** Numbers and booleans where they are wanted; `1.5` is no whole number, and not silently 1. */
function readText(schema: TSchema, filled: unknown): unknown {
  const read = Value.Convert(schema, structuredClone(filled)) as Record<string, unknown>
  for (const [key, text] of Object.entries(filled as Record<string, unknown>)) {
    if (typeof text === 'string' && String(read[key]) !== text) read[key] = text
  }
  return read
}

/** Neither NUL nor half a surrogate pair can be stored as text or JSON, wherever it stands. */
function refuseUnstorable(value: unknown, depth: number): void {
  if (depth > DEPTH_MAX) throw new HowdahError('bad-request', 'the body is nested too deeply')
  if (typeof value === 'string') {
    if (value.includes('\0')) throw new HowdahError('bad-request', 'text cannot hold NUL')
    if (!value.isWellFormed()) throw new HowdahError('bad-request', 'text must be valid Unicode')
    return
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    refuseUnstorable(key, depth + 1)
    refuseUnstorable(inner, depth + 1)
  }
}

export async function refuseUnstorableText(request: FastifyRequest): Promise<void> {
  refuseUnstorable(request.body, 0)
  refuseUnstorable(request.query, 0)
  refuseUnstorable(request.params, 0)
}
