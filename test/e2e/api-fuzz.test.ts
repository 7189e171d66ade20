// Proves that the API survives anything: every route of /openapi.json is asked with wrong and
// hostile requests, as everybody and as nobody, and each reply is a documented one. Who may call
// what is a table here, held against the routes that there are.
import assert from 'node:assert/strict'
import https from 'node:https'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { HOSTILE_PIECES, hostileText } from '../../control-plane/src/testing/hostile-text.ts'
import { type ApiDocument, type ApiRoute, fitting, routesOf } from '../harness/api-schema.ts'
import { judgeReply } from '../harness/api-verdict.ts'
import { LONG } from '../harness/long.ts'
import { startPlatform, type TestPlatform } from '../harness/platform.ts'
import { type RawReply, type RawRequest, requestRaw, sendBytes } from '../harness/raw-request.ts'
import { until } from '../harness/until.ts'

const SEED = 20_250_706
/** Per route, of which there are some sixty: half a minute, and two in the long run. */
const RUNS_PER_ROUTE = 'skip' in LONG ? 50 : 150
const SUBNET = '127.64.0'

type Caller = 'nobody' | 'viewer' | 'operator' | 'administrator'
type Access = 'public' | 'self' | 'read' | 'operate' | 'administer'

const ALLOWED: Record<Access, readonly Caller[]> = {
  public: ['nobody', 'viewer', 'operator', 'administrator'],
  self: ['viewer', 'operator', 'administrator'],
  read: ['viewer', 'operator', 'administrator'],
  operate: ['operator', 'administrator'],
  administer: ['administrator'],
}

/** A new route fails this file until somebody decided here who may call it. */
const EXPECTED_ACCESS: Record<string, Access> = {
  'GET /v1/health': 'public',
  'GET /v1/whoami': 'self',
  'GET /v1/users': 'read',
  'POST /v1/users': 'administer',
  'GET /v1/users/{user}': 'read',
  'PATCH /v1/users/{user}': 'administer',
  'PUT /v1/users/{user}': 'administer',
  'DELETE /v1/users/{user}': 'administer',
  'GET /v1/users/{user}/tokens': 'self',
  'POST /v1/users/{user}/tokens': 'self',
  'DELETE /v1/users/{user}/tokens/{token}': 'self',
  'GET /v1/hosts': 'read',
  'POST /v1/hosts': 'administer',
  'GET /v1/hosts/{host}': 'read',
  'DELETE /v1/hosts/{host}': 'administer',
  'POST /v1/hosts/{host}/enrolment-token': 'administer',
  'GET /v1/dcs': 'read',
  'POST /v1/dcs': 'administer',
  'GET /v1/clusters': 'read',
  'POST /v1/clusters': 'operate',
  'GET /v1/clusters/{cluster}': 'read',
  'PATCH /v1/clusters/{cluster}': 'operate',
  'PUT /v1/clusters/{cluster}': 'operate',
  'DELETE /v1/clusters/{cluster}': 'operate',
  'GET /v1/clusters/{cluster}/ca': 'read',
  'GET /v1/parameters': 'read',
  'POST /v1/clusters/{cluster}/undelete': 'operate',
  'POST /v1/clusters/{cluster}/switchover': 'operate',
  'POST /v1/clusters/{cluster}/failover': 'operate',
  'GET /v1/clusters/{cluster}/failovers': 'read',
  'POST /v1/clusters/{cluster}/restart': 'operate',
  'POST /v1/clusters/{cluster}/scale': 'operate',
  'POST /v1/clusters/{cluster}/pause': 'operate',
  'POST /v1/clusters/{cluster}/resume': 'operate',
  'POST /v1/clusters/{cluster}/game-days': 'operate',
  'GET /v1/clusters/{cluster}/drills': 'read',
  'GET /v1/clusters/{cluster}/databases': 'read',
  'POST /v1/clusters/{cluster}/databases': 'operate',
  'DELETE /v1/clusters/{cluster}/databases/{database}': 'operate',
  'GET /v1/clusters/{cluster}/roles': 'read',
  'POST /v1/clusters/{cluster}/roles': 'operate',
  'DELETE /v1/clusters/{cluster}/roles/{role}': 'operate',
  'POST /v1/clusters/{cluster}/roles/{role}/rotate-password': 'operate',
  'POST /v1/clusters/{cluster}/restore-drills': 'operate',
  'GET /v1/repositories': 'read',
  'POST /v1/repositories': 'operate',
  'GET /v1/repositories/{repository}': 'read',
  'PATCH /v1/repositories/{repository}': 'administer',
  'DELETE /v1/repositories/{repository}': 'administer',
  'GET /v1/clusters/{cluster}/backups': 'read',
  'POST /v1/clusters/{cluster}/backups': 'operate',
  'GET /v1/clusters/{cluster}/backups/{backup}': 'read',
  'DELETE /v1/clusters/{cluster}/backups/{backup}': 'operate',
  'GET /v1/clusters/{cluster}/backup-policy': 'read',
  'PATCH /v1/clusters/{cluster}/backup-policy': 'operate',
  'GET /v1/clusters/{cluster}/backup-status': 'read',
  'POST /v1/clusters/{cluster}/fork': 'operate',
  'POST /v1/clusters/{cluster}/repository': 'operate',
  'POST /v1/clusters/{cluster}/restore': 'operate',
  'POST /v1/clusters/{cluster}/restore/undo': 'operate',
  'GET /v1/clusters/{cluster}/restore-points': 'read',
  'POST /v1/clusters/{cluster}/restore-points': 'operate',
  'GET /v1/operations': 'read',
  'GET /v1/operations/{operation}': 'read',
  'POST /v1/operations/{operation}/cancel': 'operate',
  'POST /v1/operations/{operation}/retry': 'operate',
  'GET /v1/events': 'read',
  'GET /v1/events/stream': 'read',
}

/** Fields that keep a request that fits from building something that would take minutes. */
const HARMLESS: Record<string, Record<string, unknown>> = {
  'POST /v1/clusters': { postgres_version: '99' },
  'POST /v1/dcs': { hosts: ['no-such-host'] },
  'POST /v1/repositories': { kind: 'directory', path: '/proc/no-such-directory' },
  'POST /v1/clusters/{cluster}/fork': { plan: true },
  'POST /v1/clusters/{cluster}/restore': { plan: true },
  'POST /v1/clusters/{cluster}/restore-drills': { backup: 'bkp_00000000000000000000000000' },
}

let platform: TestPlatform
let routes: ApiRoute[]
let tokens: Record<Caller, string>
const agent = new https.Agent({ keepAlive: true, maxSockets: 8 })

before(async () => {
  platform = await startPlatform({ subnet: SUBNET, hosts: 1 })
  const document = await platform.api<ApiDocument>('GET', '/openapi.json')
  routes = routesOf(document.body)
  tokens = {
    nobody: '',
    viewer: await makeUser('viewer'),
    operator: await makeUser('operator'),
    administrator: await makeUser('administrator'),
  }
  await platform.api('POST', '/v1/users', { name: PRESENT['user'], role: 'viewer' })
  await platform.createCluster('demo', { instances: 1 })
  await platform.createCluster(VICTIM, { instances: 1 })
})
after(async () => {
  agent.destroy()
  await platform?.stop()
})

/** A user of that role, and a token for it. */
async function makeUser(role: string): Promise<string> {
  const user = await platform.api('POST', '/v1/users', { name: `a-${role}`, role })
  assert.equal(user.status, 201)
  const path = `/v1/users/a-${role}/tokens`
  const created = await platform.api<{ token: string }>('POST', path, { name: 'test' })
  assert.equal(created.status, 201)
  return created.body.token
}

const bearer = (caller: Caller): Record<string, string> =>
  caller === 'nobody' ? {} : { authorization: `Bearer ${tokens[caller]}` }

const ask = (request: RawRequest): Promise<RawReply> =>
  requestRaw(platform.connection.api, request, agent)

function assertProper(reply: RawReply, request: RawRequest, route?: ApiRoute): void {
  const isHead = request.method === 'HEAD' || request.method === 'CONNECT'
  // Where the platform's own repository is stands in its description: whoever forks asks for it.
  const text = reply.text.replaceAll(JSON.stringify(join(platform.home, 'backups')), '""')
  const wrong = judgeReply({ ...reply, text }, route, [platform.home, process.cwd()])
  const shown = {
    ...request,
    body: String(request.body).slice(0, 500),
    reply: reply.text.slice(0, 500),
  }
  if (!isHead) assert.deepEqual(wrong, [], JSON.stringify(shown, null, 1))
  assert.ok(reply.status < 500, JSON.stringify(shown))
}

/** A path on which nothing can happen: its references name nothing. */
const emptyPath = (route: ApiRoute) => route.path.replaceAll(/\{\w+\}/g, 'nothing-of-that-name')

test('the table of who may call what has every route, and no other', () => {
  assert.deepEqual(routes.map(({ name }) => name).sort(), Object.keys(EXPECTED_ACCESS).sort())
})

for (const [name, access] of Object.entries(EXPECTED_ACCESS)) {
  test(`${name} is for ${ALLOWED[access].join(', ')}`, async () => {
    const route = routes.find((candidate) => candidate.name === name)
    assert.ok(route, 'the route is gone')
    for (const caller of ['nobody', 'viewer', 'operator', 'administrator'] as const) {
      const json = route.body === undefined ? {} : { 'content-type': 'application/json' }
      const request: RawRequest = {
        method: route.method,
        path: emptyPath(route),
        headers: { ...bearer(caller), ...json },
        body: route.body === undefined ? undefined : '{}',
      }
      const reply = await ask(request)
      const refusal = caller === 'nobody' ? 401 : 403
      if (ALLOWED[access].includes(caller)) {
        assert.ok(![401, 403].includes(reply.status), `${caller}: ${reply.text}`)
      } else assert.equal(reply.status, refusal, `${caller}: ${reply.text}`)
      assertProper(reply, request, route)
    }
  })
}

test('tokens of others look as if there were nobody', async () => {
  for (const caller of ['viewer', 'operator'] as const) {
    for (const [method, path] of [
      ['GET', '/v1/users/admin/tokens'],
      ['POST', '/v1/users/admin/tokens'],
      ['DELETE', '/v1/users/admin/tokens/tok_00000000000000000000000000'],
      ['GET', '/v1/users/no-such-user/tokens'],
    ] as const) {
      const isPost = method === 'POST'
      const json = isPost ? { 'content-type': 'application/json' } : {}
      const body = isPost ? '{"name":"mine"}' : undefined
      const reply = await ask({ method, path, headers: { ...bearer(caller), ...json }, body })
      assert.equal(reply.status, 404, `${caller} ${method} ${path}: ${reply.text}`)
    }
  }
})

test('a user cannot be named like an id', async () => {
  const name = 'usr_01jd0000000000000000000000'
  const reply = await platform.api('POST', '/v1/users', { name, role: 'viewer' })
  assert.equal(reply.status, 400)
})

const WRONG_TOKENS = [
  'Bearer',
  'Bearer ',
  'Bearer x',
  'Basic YWRtaW46YWRtaW4=',
  `Bearer hwt_${'A'.repeat(43)}`,
  `Bearer hwt_${'A'.repeat(44)}`,
  `Bearer ${'A'.repeat(8000)}`,
  "Bearer ' or 1=1 --",
  'null',
]

test('a wrong token is no token', async () => {
  const nearly = `Bearer ${tokens.administrator.slice(0, -1)}`
  for (const authorization of [...WRONG_TOKENS, nearly, `${nearly}..`]) {
    const request = { method: 'GET', path: '/v1/users', headers: { authorization } }
    const reply = await ask(request)
    assert.equal(reply.status, 401, authorization)
    assert.match(String(reply.headers['www-authenticate']), /^Bearer/)
    assertProper(reply, request)
  }
})

/** Any JSON, from other types to the keys that have polluted prototypes. */
const anyJson: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  hostileText(200),
  fc.constantFrom<unknown>(null, true, -1, 0, 1.5, 1e308, '', [], {}, '\ud800', 'a\0b'),
  fc.constant('x'.repeat(70_000)),
  fc
    .constantFrom('__proto__', 'constructor', 'toString')
    .map((key) => ({ [key]: { admin: true } })),
)

function encodeJson(value: unknown): string {
  return JSON.stringify(value) ?? 'null'
}

/** A body of the right shape with one or two things wrong, as text. */
function bentBody(schema: NonNullable<ApiRoute['body']>, harmless: Record<string, unknown>) {
  const shapes = schema.anyOf ?? [schema]
  const fields = [...new Set(shapes.flatMap((shape) => Object.keys(shape.properties ?? {})))]
  const bend = fc.oneof(
    fc.constant({ kind: 'keep' as const }),
    fc.record({ kind: fc.constant('drop' as const), field: fc.constantFrom(...fields) }),
    fc.record({
      kind: fc.constant('set' as const),
      field: fc.constantFrom(...fields),
      value: anyJson,
    }),
    fc.record({ kind: fc.constant('set' as const), field: hostileText(40), value: anyJson }),
  )
  return fc.tuple(fitting(schema), bend, bend).map(([base, ...bends]) => {
    const body = new Map(Object.entries(base as Record<string, unknown>))
    for (const one of bends) {
      if (one.kind === 'drop') body.delete(one.field)
      if (one.kind === 'set') body.set(one.field, one.value)
    }
    for (const [field, value] of Object.entries(harmless)) body.set(field, value)
    // Written by hand: an object literal would swallow __proto__.
    const pairs = [...body].map(([key, value]) => `${encodeJson(key)}:${encodeJson(value)}`)
    return `{${pairs.join(',')}}`
  })
}

const BROKEN_BODIES: (Buffer | string)[] = [
  '',
  '{',
  '{"name":}',
  '[]',
  'null',
  '"x"',
  'NaN',
  '{"a":1,}',
  "{'a':1}",
  '\ufeff{}',
  '{}{}',
  '{"name":"a","name":"b"}',
  '{"__proto__":{"role":"administrator"}}',
  '{"constructor":{"prototype":{"role":"administrator"}}}',
  '{"name":"\\ud800"}',
  '{"name":"a\\u0000b"}',
  `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
  `{"name":"${'x'.repeat(1_200_000)}"}`,
  `{"name":${'9'.repeat(5000)}}`,
  Buffer.from('{"name":"a"}', 'utf16le'),
  Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
  Buffer.from([0, 0, 0]),
]

function bodyOf(route: ApiRoute): fc.Arbitrary<Buffer | string | undefined> {
  const broken = fc.constantFrom(...BROKEN_BODIES)
  if (route.body === undefined) return fc.oneof(fc.constant(undefined), broken)
  const bent = bentBody(route.body, HARMLESS[route.name] ?? {})
  const random = anyJson.map(encodeJson)
  return fc.oneof({ arbitrary: bent, weight: 6 }, { arbitrary: broken, weight: 2 }, random)
}

const CONTENT_TYPES = [
  'application/json',
  'application/json; charset=utf-8',
  'application/json; charset=utf-16',
  'application/json;;;=',
  'application/merge-patch+json',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'text/plain',
  'text/xml',
  'x',
  '/',
]
/** Only what may stand in a header: the rest never leaves a client. */
const headerText = hostileText(60).map((text) => text.replaceAll(/[^\x20-\x7e]/g, '').trim())

const oddHeaders = fc.record(
  {
    'if-match': fc.oneof(fc.constantFrom('*', '"1"', 'W/"1"', '"0", "1"', '""', '"x'), headerText),
    'idempotency-key': fc.oneof(fc.uuid(), fc.constantFrom('a', 'x'.repeat(256)), headerText),
    'last-event-id': fc.oneof(fc.constantFrom('0', '-1', '9'.repeat(30), '1e9'), headerText),
    accept: fc.constantFrom('text/html', 'application/xml', '*/*', 'x'),
    'x-request-id': headerText,
    'x-forwarded-for': headerText,
    cookie: headerText,
    'accept-encoding': fc.constantFrom('gzip', 'br', 'identity;q=0'),
  },
  { requiredKeys: [] },
)

/** What there is: most requests should get as far as the thing that they are about. */
const PRESENT: Record<string, string> = {
  cluster: 'demo',
  host: 'host-1',
  user: 'target',
  role: 'app',
  database: 'app',
}

/** Routes that may take a cluster away for a while: others could rightly say 503 of it then. */
const DISRUPTIVE = /\/(switchover|failover|restart|scale|pause|resume|game-days|restore|undo)$/
const VICTIM = 'victim'

const REFERENCES = [
  'host-1',
  'app',
  'clu_00000000000000000000000000',
  'op_00000000000000000000000000',
  'usr_00000000000000000000000000',
  '0',
  '-1',
  '*',
  '%00',
  '%ff%fe',
  '%2e%2e',
  '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  'a%0d%0ax:%20y',
  '__proto__',
  'constructor',
  'x'.repeat(64),
  'x'.repeat(65),
  'x'.repeat(301),
  '%',
  '%zz',
  '%ed%a0%80',
]
const odd = fc.oneof(
  { arbitrary: fc.constantFrom(...REFERENCES), weight: 3 },
  { arbitrary: hostileText(80).map(encodeURIComponent), weight: 1 },
)

function referenceTo(parameter: string, route: ApiRoute): fc.Arbitrary<string> {
  const isVictim = parameter === 'cluster' && DISRUPTIVE.test(route.path)
  const present = isVictim ? VICTIM : PRESENT[parameter]
  if (present === undefined) return odd
  return fc.oneof({ arbitrary: fc.constant(present), weight: 2 }, odd)
}

const queryValue = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '1',
    '-1',
    '1.5',
    '1e3',
    '201',
    '9'.repeat(40),
    'NaN',
    'true',
    'null',
    '%00',
  ),
  fc.constantFrom('demo', 'Y2x1X3g', '%ff', 'failed', '[]', '{}'),
  hostileText(60).map(encodeURIComponent),
)

function pathOf(route: ApiRoute): fc.Arbitrary<string> {
  const names = [...Object.keys(route.query), 'unknown', '__proto__', 'limit', 'limit[]']
  const query = fc.array(fc.tuple(fc.constantFrom(...names), queryValue), { maxLength: 3 })
  const references = fc.record(
    Object.fromEntries(route.pathParameters.map((name) => [name, referenceTo(name, route)])),
  )
  return fc.tuple(references, query).map(([values, pairs]) => {
    const filled = route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '')
    const text = pairs.map(([key, value]) => `${key}=${value}`).join('&')
    return text === '' ? filled : `${filled}?${text}`
  })
}

function requestOf(route: ApiRoute): fc.Arbitrary<RawRequest> {
  const caller = fc.oneof(
    { arbitrary: fc.constantFrom<Caller>('administrator'), weight: 4 },
    { arbitrary: fc.constantFrom<Caller>('nobody', 'viewer', 'operator'), weight: 1 },
  )
  const contentType = fc.oneof(
    { arbitrary: fc.constant('application/json'), weight: 5 },
    { arbitrary: fc.constantFrom(...CONTENT_TYPES), weight: 1 },
  )
  return fc
    .tuple(pathOf(route), bodyOf(route), oddHeaders, caller, contentType)
    .map(([path, body, odd, who, type]) => ({
      method: route.method,
      path,
      headers: { ...odd, ...bearer(who), ...(body === undefined ? {} : { 'content-type': type }) },
      body,
    }))
}

test('no request to any route is answered with a 5xx or anything undocumented', async (t) => {
  const statuses = new Map<number, number>()
  for (const route of routes) {
    await fc.assert(
      fc.asyncProperty(requestOf(route), async (request) => {
        const reply = await ask(request)
        statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1)
        assertProper(reply, request, route)
        if (request.headers?.['authorization'] === undefined && route.name !== 'GET /v1/health') {
          assert.ok([400, 401].includes(reply.status), `${reply.status} without a token`)
        }
      }),
      { seed: SEED, numRuns: RUNS_PER_ROUTE },
    )
  }
  t.diagnostic(`seed ${SEED}: ${JSON.stringify(Object.fromEntries(statuses))}`)
  // A generator that only ever draws what is refused at the door proves little.
  for (const status of [200, 201, 202, 400, 401, 403, 404, 409, 412, 413, 415, 422, 428]) {
    assert.ok(statuses.has(status), `no request was answered with ${status}`)
  }
})

test('whoever sends too much is told so, and not hung up on', async () => {
  const headers = { ...bearer('administrator'), 'content-type': 'application/json' }
  const body = Buffer.alloc(1_200_000, 'x')
  for (let round = 0; round < 5; round += 1) {
    const reply = await ask({ method: 'POST', path: '/v1/clusters', headers, body })
    assert.equal(reply.status, 413, reply.text)
    assert.notEqual(reply.headers.connection, 'close')
  }
})

test('other methods and unknown paths are refused, with a token and without', async () => {
  const methods = ['TRACE', 'OPTIONS', 'PROPFIND', 'PURGE', 'SEARCH', 'HEAD', 'DELETE', 'PUT']
  const paths = [
    '/',
    '/v1',
    '/v1/',
    '/v2/users',
    '/v1/users/a/b/c',
    '//v1/users',
    '/v1/%zz',
    '/.env',
  ]
  const traversals = [
    '/docs/../../etc/passwd',
    '/docs/static/..%2f..%2fpackage.json',
    '/docs/static/x',
  ]
  for (const caller of ['nobody', 'administrator'] as const) {
    for (const method of ['GET', ...methods]) {
      for (const path of [...paths, ...traversals, `/${'x'.repeat(5000)}`]) {
        const request = { method, path, headers: bearer(caller) }
        const reply = await ask(request)
        assert.ok(reply.status >= 400, `${method} ${path} ${reply.status}`)
        assertProper(reply, request)
        if (caller === 'nobody' && !path.startsWith('/docs')) {
          assert.ok([400, 401].includes(reply.status), `${method} ${path} ${reply.status}`)
        }
      }
    }
  }
})

test('a method that a route does not have changes nothing', async () => {
  for (const route of routes) {
    const known = routes.filter(({ path }) => path === route.path).map(({ method }) => method)
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'].filter((one) => !known.includes(one))) {
      const request = { method, path: emptyPath(route), headers: bearer('administrator') }
      const reply = await ask(request)
      assert.ok([404, 405].includes(reply.status), `${method} ${route.path} ${reply.status}`)
      assertProper(reply, request)
    }
  }
})

test('bytes that are no HTTP are answered with a problem and hung up on', async () => {
  const oversized = `GET /v1/users HTTP/1.1\r\nhost: a\r\nx: ${'a'.repeat(70_000)}\r\n\r\n`
  const smuggled =
    'POST /v1/users HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n'
  const lines = [
    'GARBAGE\r\n\r\n',
    '\0\0\0\0\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    oversized,
    smuggled,
  ]
  for (const bytes of lines) {
    const answer = await sendBytes(platform.connection.api, bytes)
    assert.match(answer, /^HTTP\/1\.1 400 /, bytes.slice(0, 40))
    assert.match(answer, /content-type: application\/problem\+json/)
    assert.match(answer, /"code":"bad-request"/)
  }
})

test('labels come back as they were sent, whatever their keys and values are', async () => {
  const host = { name: 'labelled', address: `${SUBNET}.77` }
  const reserved = new Set(['__proto__', 'constructor'])
  const keys = HOSTILE_PIECES.filter((piece) => piece !== '' && !reserved.has(piece)).slice(0, 32)
  const labels = Object.fromEntries(
    keys.map((key, index) => [key, HOSTILE_PIECES.at(-index) ?? '']),
  )
  const created = await platform.api<{ labels: object }>('POST', '/v1/hosts', { ...host, labels })
  assert.equal(created.status, 201)
  assert.deepEqual(created.body.labels, labels)
  const shown = await platform.api<{ labels: object }>('GET', '/v1/hosts/labelled')
  assert.deepEqual(shown.body.labels, labels)
})

test('the platform is as well after all this as before', async () => {
  const health = await platform.api('GET', '/v1/health')
  assert.deepEqual(health.body, { status: 'ok' })
  // What some of the requests began may still be going on.
  await until('the cluster to be available', 60_000, async () => {
    const path = '/v1/clusters/demo'
    const { body } = await platform.api<{ state: string; message: string }>('GET', path)
    const { state, message } = body
    return state === 'available' ? { value: true } : { seen: `${state}: ${message}` }
  })
  const admin = await platform.api<{ user: { role: string } }>('GET', '/v1/whoami')
  assert.equal(admin.body.user.role, 'administrator')
})
