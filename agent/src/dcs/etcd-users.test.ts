// Goal: users of the dcs are made and removed, twice with the same end, and reach their own keys
// only. Method: a real etcd with TLS, from no authentication to none of the test's users left.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, test } from 'node:test'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { startTestEtcd, type TestEtcd } from '../testing/test-etcd.ts'
import { connectEtcd, type EtcdAccess, EtcdError, prefixEnd, toBase64 } from './etcd-client.ts'
import { enableAuth, ensureUser, removeUser } from './etcd-users.ts'

const ADDRESS = '127.61.2.1'
const SILENT = '127.61.2.3'
const signal = new AbortController().signal
const PREFIX = '/howdah/clu_a/'
const OTHER_PREFIX = '/howdah/clu_b/'

let etcd: TestEtcd
let authority: TestAuthority
let open: EtcdAccess
let root: EtcdAccess

before(async () => {
  authority = await makeTestAuthority()
  etcd = await startTestEtcd(ADDRESS, authority)
  // The first endpoint refuses: every call goes on to the second.
  open = { endpoints: [`https://${ADDRESS}:1`, etcd.url], caPem: authority.caPem }
  root = { ...open, user: 'root', password: 'root-password' }
})

after(() => etcd.close())

async function put(access: EtcdAccess, key: string): Promise<string> {
  const client = connectEtcd(access, AbortSignal.timeout(10_000))
  try {
    await client.call('kv/put', { key: toBase64(key), value: toBase64('x') })
    return 'done'
  } catch (error) {
    if (error instanceof EtcdError) return error.message
    throw error
  } finally {
    client.close()
  }
}

function wanted(password: string) {
  return { user: 'clu_a', password, prefix: PREFIX }
}

test('authentication is turned on, and turning it on again is success', async () => {
  const early = connectEtcd(root, AbortSignal.timeout(10_000))
  await early.call('kv/range', { key: toBase64('/x') })
  await enableAuth(open, 'root-password', signal)
  await enableAuth(open, 'root-password', signal)
  assert.match(await put(open, '/x'), /user name is empty|permission denied/)
  assert.equal(await put(root, '/x'), 'done')
  // A client that was there before has no token, and gets itself one.
  await early.call('kv/range', { key: toBase64('/x') })
  early.close()
})

test('authentication that is on with another password is an error', async () => {
  await assert.rejects(enableAuth(open, 'another', signal), EtcdError)
})

test('a user reaches its own keys and no others; making it twice changes nothing', async () => {
  const own = { ...open, user: 'clu_a', password: 'first' }
  await ensureUser(root, wanted('first'), signal)
  assert.equal(await put(own, `${PREFIX}leader`), 'done')
  const client = connectEtcd(own, AbortSignal.timeout(10_000))
  await client.call('kv/range', { key: toBase64(`${PREFIX}leader`) })
  await ensureUser(root, wanted('first'), signal)
  await client.call('kv/range', { key: toBase64(`${PREFIX}leader`) })
  client.close()
  for (const key of ['/', '/howdah/clu_b/leader', '/howdah/clu_a', '/howdah/clu_a0']) {
    assert.match(await put(own, key), /permission denied/, key)
  }
})

test('another password replaces the first, also under a client that holds a token', async () => {
  const client = connectEtcd(
    { ...open, user: 'clu_a', password: 'second' },
    AbortSignal.timeout(10_000),
  )
  await ensureUser(root, wanted('second'), signal)
  await client.call('kv/range', { key: toBase64(`${PREFIX}leader`) })
  // Any change of users makes tokens stale: the client gets itself a new one.
  await ensureUser(root, { user: 'clu_b', password: 'b', prefix: OTHER_PREFIX }, signal)
  await client.call('kv/range', { key: toBase64(`${PREFIX}leader`) })
  client.close()
  assert.match(
    await put({ ...open, user: 'clu_a', password: 'first' }, `${PREFIX}x`),
    /authentication failed/,
  )
})

test('a role that covers too much is cut back', async () => {
  const client = connectEtcd(root, AbortSignal.timeout(10_000))
  const perm = { permType: 2, key: toBase64('/'), range_end: prefixEnd('/') }
  await client.call('auth/role/grant', { name: 'clu_b', perm })
  client.close()
  const own = { ...open, user: 'clu_b', password: 'b' }
  assert.equal(await put(own, '/anything'), 'done')
  await ensureUser(root, { user: 'clu_b', password: 'b', prefix: OTHER_PREFIX }, signal)
  assert.match(await put(own, '/anything'), /permission denied/)
  assert.equal(await put(own, `${OTHER_PREFIX}leader`), 'done')
})

test('a removed user leaves no key, and its neighbour keeps all', async () => {
  await removeUser(root, { user: 'clu_a', prefix: PREFIX }, signal)
  await removeUser(root, { user: 'clu_a', prefix: PREFIX }, signal)
  const client = connectEtcd(root, AbortSignal.timeout(10_000))
  const range = { key: toBase64('/howdah/'), range_end: prefixEnd('/howdah/'), keys_only: true }
  const { kvs } = (await client.call('kv/range', range)) as { kvs: { key: string }[] }
  client.close()
  const keys = kvs.map(({ key }) => Buffer.from(key, 'base64').toString())
  assert.deepEqual(keys, ['/howdah/clu_b/leader'])
})

test('a CA of somebody else is not trusted, and the call ends with its signal', async () => {
  const other = await makeTestAuthority()
  const client = connectEtcd({ ...root, caPem: other.caPem }, AbortSignal.timeout(700))
  await assert.rejects(client.call('kv/range', { key: '' }), /signature|certificate|stopped/)
  client.close()
})

test('an endpoint that says nothing is not waited for where calls may be made twice', async (t) => {
  const silent = createServer(() => undefined).listen(2379, SILENT)
  await once(silent, 'listening')
  const access = { ...root, endpoints: [`https://${SILENT}:2379`, etcd.url] }
  const patience = { timeoutMs: 60_000, hedgeMs: 50 }
  const client = connectEtcd(access, AbortSignal.timeout(20_000), patience)
  t.after(() => {
    client.close()
    silent.close()
  })
  let moves = 0
  client.onMove(() => {
    moves += 1
  })
  await client.call('kv/range', { key: toBase64('/') })
  assert.equal(client.endpoint(), etcd.url)
  // What etcd refuses is an answer, and no reason to go and ask the silent one.
  await assert.rejects(client.call('kv/range', { key: toBase64('/'), limit: 'x' }), EtcdError)
  assert.equal(moves, 1)
})

test('a call waits for an etcd that is away for a moment', async () => {
  assert.ok(etcd.kill('SIGSTOP'))
  const result = put(root, '/later')
  assert.ok(etcd.kill('SIGCONT'))
  assert.equal(await result, 'done')
})
