// Proves the agents' side of the control plane against whoever reaches its port: without the
// certificate of an enrolled host there is nothing but enrolment, and with one there is nothing but
// that host.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { createSigningRequest } from '../../agent/src/signing-request.ts'
import { createAuthority, issueCertificate } from '../../control-plane/src/certificates.ts'
import { readSealer } from '../../control-plane/src/sealing.ts'
import { hostileText } from '../../control-plane/src/testing/hostile-text.ts'
import { judgeReply } from '../harness/api-verdict.ts'
import { connectPlatformDb } from '../harness/inventory.ts'
import { startPlatform, type TestPlatform } from '../harness/platform.ts'
import { type RawReply, type RawRequest, requestRaw, sendBytes } from '../harness/raw-request.ts'

const SEED = 20_250_707
const SUBNET = '127.64.0'
const ORIGIN = `https://${SUBNET}.100:7401`
const PATHS = ['renew', 'sync', 'report'].map((name) => `/agent/v1/${name}`)

type Identity = NonNullable<RawRequest['identity']> & { hostId: string }

let platform: TestPlatform
let first: Identity
let second: Identity

before(async () => {
  platform = await startPlatform({ subnet: SUBNET, hosts: 1 })
  first = await enrol('first', `${SUBNET}.51`)
  second = await enrol('second', `${SUBNET}.52`)
})
after(() => platform?.stop())

async function post(path: string, body: unknown, identity?: RawRequest['identity']) {
  const request: RawRequest = {
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(identity === undefined ? {} : { identity }),
  }
  const reply = await requestRaw(ORIGIN, request)
  assertProper(reply, path)
  return { ...reply, json: JSON.parse(reply.text) as Record<string, unknown> }
}

function assertProper(reply: RawReply, path: string): void {
  const needsId = reply.status >= 400
  const wrong = judgeReply(reply, undefined, [platform.home, process.cwd()])
  const relevant = wrong.filter((said) => needsId || !said.includes('x-request-id'))
  assert.deepEqual(relevant, [], `${path}: ${reply.text.slice(0, 500)}`)
}

async function addHost(name: string, address: string): Promise<string> {
  const host = await platform.api('POST', '/v1/hosts', { name, address })
  assert.equal(host.status, 201)
  const path = `/v1/hosts/${name}/enrolment-token`
  const token = await platform.api<{ token: string }>('POST', path)
  assert.equal(token.status, 201)
  return token.body.token
}

async function enrol(name: string, address: string): Promise<Identity> {
  const token = await addHost(name, address)
  const { csrPem, privateKeyPem } = createSigningRequest('a wish')
  const { status, json } = await post('/agent/v1/enrol', { token, csrPem })
  assert.equal(status, 200)
  const { certificatePem, hostId } = json as { certificatePem: string; hostId: string }
  return { certificatePem, privateKeyPem, hostId }
}

const report = (message: string) => ({
  appliedRevision: 0,
  applyError: message,
  services: [{ name: 'etcd', state: 'up', ready: true, pid: 1, sinceEpoch: 1, message } as const],
  results: [],
})

test('without a certificate everything but enrolment is refused', async () => {
  for (const path of [
    ...PATHS,
    '/agent/v1/nothing',
    '/',
    '/v1/users',
    '/agent/v1/enrol?x',
    '/agent/v1/enrol/',
  ]) {
    const { status, json } = await post(path, report('x'))
    assert.equal(status, 401, path)
    assert.equal(json['code'], 'not-authenticated')
  }
})

test('an administrator’s token is no certificate', async () => {
  const headers = { authorization: `Bearer ${platform.token}`, 'content-type': 'application/json' }
  for (const path of PATHS) {
    const reply = await requestRaw(ORIGIN, { method: 'POST', path, headers, body: '{}' })
    assert.equal(reply.status, 401)
  }
})

test('only the certificate of an enrolled host of this platform is one', async () => {
  const sealer = await readSealer(join(platform.home, 'platform/master.key'))
  const db = await connectPlatformDb(platform)
  const { rows } = await db.query<{ name: string; sealed: Buffer }>(
    "select name, sealed from secret where owner = 'platform'",
  )
  await db.end()
  const open = (name: string) => {
    const row = rows.find((candidate) => candidate.name === name)
    return sealer.open(`secret:platform:${name}`, row?.sealed ?? Buffer.alloc(0))
  }
  const ours = { certificatePem: open('ca-certificate'), keyPem: open('ca-key') }
  const theirs = await createAuthority('howdah platform')
  const strangers = [
    [theirs, first.hostId],
    [ours, 'howdah'],
    [ours, 'hst_00000000000000000000000000'],
    [ours, `${first.hostId} `],
    [ours, first.hostId.toUpperCase()],
    [ours, 'first'],
  ] as const
  for (const [authority, commonName] of strangers) {
    const issued = await issueCertificate(authority, commonName, ['localhost'], 1)
    const identity = { certificatePem: issued.certificatePem, privateKeyPem: issued.keyPem }
    for (const path of PATHS) {
      const { status } = await post(path, report('x'), identity)
      assert.equal(status, 401, `${commonName} at ${path}`)
    }
  }
})

test('an enrolment token works once; a wrong, used or replaced one is refused', async () => {
  const token = await addHost('third', `${SUBNET}.53`)
  const { csrPem } = createSigningRequest('x')
  const [format, secret, digest] = token.split('.') as [string, string, string]
  const other = `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`
  const wrong = ['', '.', 'hwd1', `${format}.${other}.${digest}`, `${format}..${digest}`, digest]
  for (const attempt of [...wrong, platform.token, "' or 1=1 --"]) {
    const { status, json } = await post('/agent/v1/enrol', { token: attempt, csrPem })
    assert.equal(status, 403, attempt)
    assert.equal(json['code'], 'enrolment-refused')
  }
  // A request that cannot be signed leaves the token as it is.
  for (const broken of ['', 'x', csrPem.slice(0, 200), csrPem.replace('M', 'N')]) {
    assert.equal((await post('/agent/v1/enrol', { token, csrPem: broken })).status, 400)
  }
  const replaced = await platform.api<{ token: string }>('POST', '/v1/hosts/third/enrolment-token')
  assert.equal((await post('/agent/v1/enrol', { token, csrPem })).status, 403)
  const used = { token: replaced.body.token, csrPem }
  const both = await Promise.all([post('/agent/v1/enrol', used), post('/agent/v1/enrol', used)])
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 403])
})

test('a host reports for itself, whatever its body says', async () => {
  const body = { ...report('said by first'), hostId: second.hostId, host: 'second' }
  assert.equal((await post('/agent/v1/report', body, first)).status, 200)
  type Shown = { services: { message: string }[] }
  const shown = async (name: string) => (await platform.api<Shown>('GET', `/v1/hosts/${name}`)).body
  assert.deepEqual(
    (await shown('first')).services.map(({ message }) => message),
    ['said by first'],
  )
  assert.deepEqual((await shown('second')).services, [])
})

test("a host cannot finish another host's task, nor see it", async () => {
  const db = await connectPlatformDb(platform)
  const sealer = await readSealer(join(platform.home, 'platform/master.key'))
  const id = 'tsk_00000000000000000000000001'
  const action = { kind: 'remove-data', path: 'data/x' }
  await db.query(
    `insert into task (id, host_id, action, timeout_ms, state)
     values ($1, $2, $3, 1000, 'pending')`,
    [id, second.hostId, sealer.seal(`task:${id}`, JSON.stringify(action))],
  )
  const result = { id, ok: true, value: null, error: '', errorCode: '' }
  const reply = await post('/agent/v1/report', { ...report('x'), results: [result] }, first)
  assert.equal(reply.status, 200)
  const { rows } = await db.query('select state, result from task where id = $1', [id])
  await db.query('delete from task where id = $1', [id])
  await db.end()
  assert.deepEqual(rows, [{ state: 'pending', result: null }])
})

test('renewal keeps the name, whatever the request asks for', async () => {
  const { csrPem } = createSigningRequest(second.hostId)
  const { status, json } = await post('/agent/v1/renew', { csrPem }, first)
  assert.equal(status, 200)
  const renewed = new X509Certificate(String(json['certificatePem']))
  assert.equal(renewed.subject, `CN=${first.hostId}`)
})

test('large, broken and hostile bodies are refused, and the host list survives them', async () => {
  const large = await post('/agent/v1/report', `{"x":"${'a'.repeat(5_000_000)}"}`, first)
  assert.equal(large.status, 413)
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    hostileText(200),
    fc.constantFrom<unknown>('a\0b', '\ud800', 1e308, -1, 2 ** 63, null, [], {}),
  )
  const field = fc.constantFrom('appliedRevision', 'applyError', 'services', 'results', 'other')
  const inService = fc.constantFrom('name', 'state', 'pid', 'sinceEpoch', 'message', 'patroni')
  await fc.assert(
    fc.asyncProperty(field, inService, value, fc.boolean(), async (top, inner, drawn, deep) => {
      const body: Record<string, unknown> = report('x')
      if (deep) body['services'] = [{ ...report('x').services[0], [inner]: drawn }]
      else body[top] = drawn
      await post('/agent/v1/report', body, first)
      assert.equal((await platform.api('GET', '/v1/hosts')).status, 200, JSON.stringify(body))
    }),
    { seed: SEED, numRuns: 150 },
  )
})

test('a host that was deleted is a stranger at once', async () => {
  assert.equal((await platform.api('DELETE', '/v1/hosts/second')).status, 204)
  for (const path of PATHS) assert.equal((await post(path, report('x'), second)).status, 401)
})

test('bytes that are no HTTP are answered with a problem', async () => {
  assert.match(await sendBytes(ORIGIN, 'GARBAGE\r\n\r\n'), /^HTTP\/1\.1 400 [\s\S]+"bad-request"/)
})
