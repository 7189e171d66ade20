// Requests survive what passes, carry one Idempotency-Key, and trust one authority only.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { type ApiClient, apiPath, makeApiClient } from './api-client.ts'
import { type FakeApi, problem, startFakeApi } from './testing/fake-api.ts'

function clientOf(api: FakeApi, changes: { caPem?: string; deadlineMs?: number } = {}): ApiClient {
  const options = { api: api.url, token: 'test-token', caPem: api.caPem, userAgent: 'test' }
  return makeApiClient({ ...options, ...changes })
}

async function failureOf(promise: Promise<unknown>): Promise<HowdahError> {
  try {
    await promise
  } catch (error) {
    assert.ok(error instanceof HowdahError, String(error))
    return error
  }
  throw new Error('it did not fail')
}

test('a mutation is retried with the same key after a lost connection and a 503', async () => {
  await using api = await startFakeApi()
  let count = 0
  api.routes.set('POST /v1/things', (_request, response) => {
    count += 1
    if (count === 1) {
      response.socket?.destroy()
      return undefined
    }
    return count === 2 ? problem(503, 'task-lost', 'lost') : { status: 202, body: { ok: true } }
  })
  const reply = await clientOf(api).request('POST', '/v1/things', { body: { a: 1 } })
  assert.deepEqual([reply.status, reply.data], [202, { ok: true }])
  const keys = new Set(api.seen.map((request) => request.headers['idempotency-key']))
  assert.equal(api.seen.length, 3)
  assert.equal(keys.size, 1)
  assert.match(String([...keys][0]), /^[0-9a-f-]{36}$/)
})

test('a request is sent at most four times', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/things', () => problem(503, 'platform-unreachable', 'starting'))
  const error = await failureOf(clientOf(api).get('/v1/things'))
  assert.deepEqual([error.code, api.seen.length], ['platform-unreachable', 4])
})

test('a refusal is not retried, and keeps code, hint, fields and request id', async () => {
  await using api = await startFakeApi()
  api.routes.set('PATCH /v1/things', () => {
    const refusal = problem(409, 'operation-running', 'busy')
    const more = { operation_id: 'op_7', errors: [{ pointer: '/a', message: 'no' }, 3] }
    return { ...refusal, body: { ...refusal.body, ...more } }
  })
  const error = await failureOf(clientOf(api).request('PATCH', '/v1/things', { ifMatch: 3 }))
  assert.equal(error.code, 'operation-running')
  assert.deepEqual(error.extra, { hint: 'a hint', request_id: 'req_1', operation_id: 'op_7' })
  assert.deepEqual(error.fields[0], { pointer: '/a', message: 'no' })
  assert.equal(api.seen.length, 1)
  assert.equal(api.seen[0]?.headers['if-match'], '"3"')
})

test('a code from a newer platform is shown, and its status decides the exit code', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/things', () => problem(409, 'moon-phase', 'not now'))
  const error = await failureOf(clientOf(api).get('/v1/things'))
  assert.deepEqual([error.code, error.extra.code], ['wrong-state', 'moon-phase'])
})

test('a certificate of another authority is refused before the token is sent', async () => {
  await using api = await startFakeApi()
  await using other = await startFakeApi()
  const error = await failureOf(clientOf(api, { caPem: other.caPem }).get('/v1/whoami'))
  assert.equal(error.code, 'platform-unreachable')
  assert.match(error.message, /authority/)
  assert.equal(api.seen.length, 0)
})

test('a platform that does not answer ends at the deadline', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/things', () => undefined)
  const error = await failureOf(clientOf(api, { deadlineMs: 200 }).get('/v1/things'))
  assert.deepEqual([error.code, api.seen.length], ['platform-unreachable', 1])
})

test('a list is read to its last page', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/things', ({ path }) =>
    path.includes('cursor=next')
      ? { body: { data: [3], next_cursor: null } }
      : { body: { data: [1, 2], next_cursor: 'next' } },
  )
  assert.deepEqual(await clientOf(api).list('/v1/things'), [1, 2, 3])
})

test('HTML where JSON was expected is said, not thrown at people', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/things', (_request, response) => {
    response.end('<html>')
    return undefined
  })
  assert.equal((await failureOf(clientOf(api).get('/v1/things'))).code, 'internal')
})

test('a name is one segment of a path whatever characters it holds', () => {
  const name = 'a/../b?c#d%e é'
  assert.equal(apiPath`/v1/x/${name}/y`, '/v1/x/a%2F..%2Fb%3Fc%23d%25e%20%C3%A9/y')
  assert.throws(() => apiPath`/v1/x/${'..'}`, { code: 'not-found' })
  assert.throws(() => apiPath`/v1/x/${''}`, { code: 'not-found' })
})
