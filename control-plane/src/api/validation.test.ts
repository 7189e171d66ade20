// Proves how requests are parsed: bodies as they are, text from URLs as numbers where a number is
// wanted, and nothing that PostgreSQL could not store.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import type { FastifyRequest } from 'fastify'
import { type TSchema, Type } from 'typebox'
import { refuseUnstorableText, validatorCompiler } from './validation.ts'

function parse(schema: TSchema, httpPart: 'body' | 'querystring' | 'params', input: unknown) {
  const validate = validatorCompiler({ schema, httpPart, method: 'GET', url: '/' })
  return validate(input) as { value?: unknown; error?: { instancePath: string }[] }
}

const Body = Type.Object(
  { count: Type.Integer(), flag: Type.Optional(Type.Boolean({ default: true })) },
  { additionalProperties: false },
)
const Query = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: 200, default: 50 }),
  deleted: Type.Boolean({ default: false }),
  name: Type.Optional(Type.String({ maxLength: 3 })),
})

test('a body is not coerced, nothing in it is dropped, and defaults are filled in', () => {
  assert.deepEqual(parse(Body, 'body', { count: 1 }).value, { count: 1, flag: true })
  for (const wrong of [
    { count: '1' },
    { count: 1.5 },
    { count: 1, more: 1 },
    {},
    [],
    null,
    'x',
    undefined,
  ]) {
    assert.ok(parse(Body, 'body', wrong).error, JSON.stringify(wrong))
  }
})

test('keys that pollute prototypes are additional ones', () => {
  assert.ok(parse(Body, 'body', JSON.parse('{"count":1,"__proto__":{"flag":false}}')).error)
  assert.ok(parse(Body, 'body', { count: 1, constructor: {} }).error)
  assert.equal(({} as { flag?: boolean }).flag, undefined)
})

test('text of a URL becomes what the schema wants, when it is exactly that', () => {
  const { value } = parse(Query, 'querystring', { limit: '7', deleted: 'true', name: '7' })
  assert.deepEqual(value, { limit: 7, deleted: true, name: '7' })
  assert.deepEqual(parse(Query, 'querystring', {}).value, { limit: 50, deleted: false })
  for (const limit of [
    '',
    '0',
    '201',
    '1.5',
    'x',
    '7x',
    '1e2',
    '0x7',
    'true',
    ' 7',
    'NaN',
    '-1',
    ['1', '2'],
  ]) {
    assert.ok(parse(Query, 'querystring', { limit }).error, JSON.stringify(limit))
  }
})

test('what was sent is not changed', () => {
  const input = { count: 1 }
  parse(Body, 'body', input)
  assert.deepEqual(input, { count: 1 })
})

test('errors name the field, and there are never more than twenty', () => {
  const schema = Type.Object({ list: Type.Array(Type.Integer()) })
  const { error } = parse(schema, 'body', { list: Array.from({ length: 100 }, () => 'x') })
  assert.ok(error)
  assert.equal(error[0]?.instancePath, '/list/0')
  assert.ok(error.length <= 20)
})

const refuse = (body: unknown, query: unknown = {}, params: unknown = {}) =>
  refuseUnstorableText({ body, query, params } as FastifyRequest)
const badRequest = (error: unknown) => error instanceof HowdahError && error.code === 'bad-request'

test('NUL and half a surrogate pair are refused wherever they stand', async () => {
  for (const text of ['\0', 'a\0b', '\ud800', 'a\udfff']) {
    await assert.rejects(refuse(text), badRequest)
    await assert.rejects(refuse({ a: [{ b: text }] }), badRequest)
    await assert.rejects(refuse({ [text]: 1 }), badRequest)
    await assert.rejects(refuse(undefined, { a: text }), badRequest)
    await assert.rejects(refuse(undefined, {}, { a: text }), badRequest)
  }
  await refuse({ a: ['🐘', '\u2028', '\u202e', 1, null, true, {}] })
})

test('a body has at most twenty levels; a million are refused without a crash', async () => {
  const nested = (depth: number) =>
    JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown
  await refuse(nested(20))
  await assert.rejects(refuse(nested(30)), badRequest)
  await assert.rejects(refuse(nested(1_000_000)), badRequest)
})
