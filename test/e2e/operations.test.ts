// The promises around operations as a client meets them: one request is carried out once, two
// changes never run at the same time, what is cancelled or deleted goes or comes back as a whole,
// and what happened is told completely.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type {
  Cluster,
  ClusterAccepted,
  OperationAccepted,
  RoleAccepted,
} from '@howdah/core/contract/clusters.ts'
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { readSecrets } from '../../control-plane/src/db/secrets.ts'
import { readSealer } from '../../control-plane/src/sealing.ts'
import { endpointOf, refusal, type SqlTarget, type TestCluster } from '../harness/cluster.ts'
import { followEvents } from '../harness/events.ts'
import { commandHostService } from '../harness/host.ts'
import { connectPlatformDb, differences, inventory } from '../harness/inventory.ts'
import { LONG } from '../harness/long.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 240_000
const SETTLE_TIMEOUT_MS = 60_000
const ANY = { 'if-match': '*' }

let platform: TestPlatform
let main: TestCluster

before(async () => {
  platform = await startPlatform({ subnet: '127.63.0' })
  main = await platform.createCluster('main', { instances: 1 })
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

async function finish(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  return platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
}

async function succeed(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  const operation = await finish(reply)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

function remove(name: string, purge: boolean) {
  const body = { confirm: name, purge }
  return platform.api<OperationAccepted>('DELETE', `/v1/clusters/${name}`, body, ANY)
}

/** Compares with what there was; the processes of a deleted cluster may take a moment to end. */
async function assertNothingLeft(before: Awaited<ReturnType<typeof inventory>>): Promise<void> {
  await until('nothing to be left', SETTLE_TIMEOUT_MS, async () => {
    const found = differences(before, await inventory(platform))
    return found.length === 0 ? { value: true } : { seen: `\n${found.join('\n')}` }
  })
}

test('fifty equal requests with one Idempotency-Key make one cluster', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const create = (instances: number) =>
    platform.api<ClusterAccepted>('POST', '/v1/clusters', { name: 'fifty', instances }, headers)
  const replies = await Promise.all(Array.from({ length: 50 }, () => create(1)))
  for (const reply of replies) {
    assert.equal(reply.status, 202, JSON.stringify(reply.body))
    assert.deepEqual(reply.body, replies[0]?.body)
  }
  const other = await create(2)
  assert.equal(other.status, 422)
  assert.equal((other.body as unknown as Problem).code, 'idempotency-mismatch')

  const { body: list } = await platform.api<{ data: Cluster[] }>('GET', '/v1/clusters?limit=200')
  assert.equal(list.data.filter(({ name }) => name === 'fifty').length, 1)
  const operation = await succeed({ status: 202, body: (await create(1)).body })
  const cluster = await readCluster(platform.api, replies[0]?.body as ClusterAccepted, operation)
  assert.deepEqual(await platform.sql({ cluster }, 'select 1 as one'), [{ one: 1 }])
  await succeed(await remove('fifty', true))
})

test('of changes that come together one runs, and the others name it', async () => {
  const replies = await Promise.all(
    Array.from({ length: 12 }, (_, index) =>
      platform.api<OperationAccepted & Problem>('POST', '/v1/clusters/main/databases', {
        name: `together-${index}`,
      }),
    ),
  )
  const accepted = replies.filter(({ status }) => status === 202)
  assert.equal(accepted.length, 1)
  const running = accepted[0]?.body.operation.id
  for (const { status, body } of replies.filter((reply) => reply.status !== 202)) {
    assert.equal(status, 409)
    assert.equal(body.code, 'operation-running')
    assert.equal(body.operation_id, running, JSON.stringify(body))
  }
  await platform.waitOperation(running ?? '', OPERATION_TIMEOUT_MS)
})

test('a change needs the present ETag, and two with the same one are not both made', async () => {
  const path = '/v1/clusters/main'
  const { headers } = await platform.api('GET', path)
  const etag = headers.etag ?? ''
  const patch = (value: string, match: Record<string, string>) =>
    platform.api<ClusterAccepted & Problem>('PATCH', path, { labels: { team: value } }, match)
  assert.equal((await patch('none', {})).status, 428)
  assert.equal((await patch('stale', { 'if-match': '"999"' })).status, 412)

  const both = await Promise.all([
    patch('one', { 'if-match': etag }),
    patch('two', { 'if-match': etag }),
  ])
  const won = both.find(({ status }) => status === 202)
  const lost = both.find(({ status }) => status !== 202)
  assert.ok(won !== undefined && lost !== undefined, JSON.stringify(both.map((r) => r.status)))
  assert.ok(lost.status === 412 || lost.status === 409, String(lost.status))
  assert.notEqual(won.headers.etag, etag)
  await succeed(won)
  const { body: now } = await platform.api<Cluster>('GET', path)
  assert.deepEqual(now.spec.labels, won.body.cluster.spec.labels)
  assert.equal((await patch('late', { 'if-match': etag })).status, 412)
})

test('a cancelled creation leaves nothing', async () => {
  const empty = await inventory(platform)
  for (const step of ['place', 'wait-leader', 'prepare-database']) {
    const { body } = await platform.api<ClusterAccepted>('POST', '/v1/clusters', {
      name: 'cancelled',
      instances: 2,
    })
    const path = `/v1/operations/${body.operation.id}`
    await until(`the step ${step} to begin`, OPERATION_TIMEOUT_MS, async () => {
      const { body: now } = await platform.api<Operation>('GET', path)
      const state = now.steps.find(({ name }) => name === step)?.state
      return state === 'pending' ? { seen: state } : { value: true }
    })
    const cancelled = await platform.api<Operation>('POST', `${path}/cancel`)
    assert.equal(cancelled.status, 202, JSON.stringify(cancelled.body))
    const operation = await platform.waitOperation(body.operation.id, OPERATION_TIMEOUT_MS)
    assert.equal(operation.state, 'cancelled', JSON.stringify(operation))
    assert.equal((await platform.api('GET', '/v1/clusters/cancelled')).status, 404)
    await assertNothingLeft(empty)
  }
})

test('a failed operation is retried from its failed step, and succeeds', async () => {
  const grant = { name: 'guest', access: 'read', database: 'closed' }
  await succeed(
    await platform.api<OperationAccepted>('POST', '/v1/clusters/main/databases', {
      name: 'closed',
    }),
  )
  const allow = (allowed: boolean) =>
    platform.sql({ cluster: main }, `alter database closed with allow_connections ${allowed}`)
  await allow(false)
  const path = '/v1/clusters/main/roles'
  const failed = await finish(await platform.api<OperationAccepted>('POST', path, grant))
  assert.equal(failed.state, 'failed')
  assert.equal(failed.error?.step, 'grant')
  assert.deepEqual(
    failed.steps.map(({ state }) => state),
    ['succeeded', 'succeeded', 'failed'],
  )

  await allow(true)
  const retry = await platform.api('POST', `/v1/operations/${failed.id}/retry`)
  assert.equal(retry.status, 202, JSON.stringify(retry.body))
  const retried = await platform.waitOperation(failed.id, OPERATION_TIMEOUT_MS)
  assert.equal(retried.state, 'succeeded', JSON.stringify(retried.error))
  assert.equal(retried.attempt, 2)
  assert.deepEqual(
    retried.steps.slice(0, 2),
    failed.steps.slice(0, 2),
    'a step that had succeeded ran again',
  )
  assert.equal((await platform.api('POST', `/v1/operations/${failed.id}/retry`)).status, 409)
})

test('a creation that failed for want of its hosts succeeds when they are back', LONG, async () => {
  const hosts = ['host-1', 'host-2', 'host-3']
  const command = (flag: string) =>
    Promise.all(hosts.map((host) => commandHostService(platform, host, 'agent', flag)))
  await command('-d')
  const body = { name: 'late', instances: 1 }
  const accepted = await platform.api<ClusterAccepted>('POST', '/v1/clusters', body)
  const failed = await finish(accepted)
  await command('-u')
  assert.equal(failed.state, 'failed', JSON.stringify(failed))
  assert.equal(failed.error?.code, 'task-lost', JSON.stringify(failed.error))
  const { body: broken } = await platform.api<Cluster>('GET', '/v1/clusters/late')
  assert.equal(broken.state, 'failed')

  const retry = await platform.api('POST', `/v1/operations/${failed.id}/retry`)
  assert.equal(retry.status, 202, JSON.stringify(retry.body))
  const retried = await platform.waitOperation(failed.id, OPERATION_TIMEOUT_MS)
  assert.equal(retried.state, 'succeeded', JSON.stringify(retried.error))
  const cluster = await readCluster(platform.api, accepted.body, retried)
  await platform.sql({ cluster }, 'create table written (line text)')
  await succeed(await remove('late', true))
})

test('a deleted cluster comes back with its rows, a purged one never', LONG, async () => {
  const empty = await inventory(platform)
  const cluster = await platform.createCluster('phoenix', { instances: 3 })
  await platform.sql({ cluster }, 'create table note (line text)')
  await platform.sql({ cluster }, "insert into note values ('written before')")

  await succeed(await remove('phoenix', false))
  const { body: tombstone } = await platform.api<Cluster>('GET', '/v1/clusters/phoenix')
  assert.equal(tombstone.state, 'deleted')
  assert.ok(Date.parse(tombstone.purge_at ?? '') > Date.now())
  const { body: dead } = await platform.api<{ data: Cluster[] }>('GET', '/v1/clusters?deleted=true')
  assert.deepEqual(
    dead.data.map(({ name }) => name),
    ['phoenix'],
  )
  const same = await platform.api<Problem>('POST', '/v1/clusters', { name: 'phoenix' })
  assert.equal(same.status, 409)
  assert.equal(same.body.code, 'name-taken')

  const undelete = '/v1/clusters/phoenix/undelete'
  await succeed(await platform.api<OperationAccepted>('POST', undelete))
  const risen = await until('phoenix to be available', SETTLE_TIMEOUT_MS, async () => {
    const { body } = await platform.api<Cluster>('GET', '/v1/clusters/phoenix')
    const { state, message } = body
    return state === 'available' ? { value: body } : { seen: `${state}: ${message}` }
  })
  assert.equal(risen.purge_at, null)
  const rows = await platform.sql({ cluster: { ...cluster, cluster: risen } }, 'table note')
  assert.deepEqual(rows, [{ line: 'written before' }])
  assert.equal((await platform.api('POST', undelete)).status, 409)

  await succeed(await remove('phoenix', true))
  assert.equal((await platform.api('GET', '/v1/clusters/phoenix')).status, 404)
  await assertNothingLeft(empty)
})

test('a client that loses its event stream misses nothing and hears nothing twice', async () => {
  const body = { name: 'heard', instances: 1 }
  const { body: accepted } = await platform.api<ClusterAccepted>('POST', '/v1/clusters', body)
  const { id } = accepted.operation
  const heard = await followEvents(platform, `/v1/events/stream?after=0&operation=${id}`, {
    last: /^operation\.(succeeded|failed|cancelled)$/,
    hangUpAfter: 3,
    timeoutMs: OPERATION_TIMEOUT_MS,
  })
  const { body: told } = await platform.api<{ data: Event[] }>(
    'GET',
    `/v1/events?operation=${id}&limit=1000`,
  )
  assert.deepEqual(heard, told.data)
  assert.ok(heard.length > 20, `only ${heard.length} events`)
  await succeed(await remove('heard', true))
})

test('pages hold every operation once', async () => {
  const all: string[] = []
  let cursor = ''
  do {
    const query = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const { status, body } = await platform.api<{
      data: Operation[]
      next_cursor: string | null
    }>('GET', `/v1/operations?limit=2${query}`)
    assert.equal(status, 200)
    assert.ok(body.data.length <= 2)
    all.push(...body.data.map(({ id }) => id))
    cursor = body.next_cursor ?? ''
  } while (cursor !== '')
  const { body: once } = await platform.api<{ data: Operation[] }>(
    'GET',
    '/v1/operations?limit=200',
  )
  assert.deepEqual(
    all,
    once.data.map(({ id }) => id),
  )
  assert.ok(all.length > 4)
  assert.equal((await platform.api('GET', '/v1/operations?cursor=bm9uc2Vuc2U')).status, 400)
})

test('clusters of one and of five instances live side by side', LONG, async () => {
  const empty = await inventory(platform)
  const [one, five, two] = await Promise.all([
    platform.createCluster('one', { instances: 1 }),
    platform.createCluster('five', { instances: 5 }),
    platform.createCluster('two', { instances: 2, durability: 'strict' }),
  ])
  assert.equal(five.cluster.instances.length, 5)
  assert.equal(five.cluster.instances.filter(({ streaming }) => streaming).length, 4)
  const ports = [main, one, five, two].map(({ cluster }) => {
    const { address, port } = endpointOf(cluster, 'write')
    return `${address}:${port}`
  })
  assert.equal(new Set(ports).size, 4, ports.join())
  for (const cluster of [one, five, two]) {
    await platform.sql({ cluster }, 'create table whose (name text)')
    await platform.sql({ cluster }, 'insert into whose values ($1)', [cluster.cluster.name])
  }
  for (const cluster of [one, five, two]) {
    const rows = await platform.sql({ cluster }, 'table whose')
    assert.deepEqual(rows, [{ name: cluster.cluster.name }])
  }
  await Promise.all(['one', 'five', 'two'].map(async (name) => succeed(await remove(name, true))))
  await assertNothingLeft(empty)
})

interface Credential {
  role: string
  password: string
}

async function createRole(body: Record<string, string>): Promise<Credential> {
  const path = '/v1/clusters/main/roles'
  const reply = await platform.api<RoleAccepted>('POST', path, body)
  await succeed(reply)
  const { credentials } = reply.body
  assert.ok(credentials !== undefined, 'no password was shown')
  return { role: credentials.role, password: credentials.password }
}

function as(credential: Credential, database: string): SqlTarget {
  const { role: user, password } = credential
  return { cluster: main, purpose: 'write-direct', user, password, database }
}

async function listNames(what: 'databases' | 'roles'): Promise<string[]> {
  const path = `/v1/clusters/main/${what}`
  const { body } = await platform.api<{ data: { name: string }[] }>('GET', path)
  return body.data.map(({ name }) => name)
}

const DENIED = '42501'
const WRONG_PASSWORD = '28P01'
const REJECTED = '28000'
const POOLER_REFUSED = '08P01'

test('roles can do what they were made for, and nothing else', async () => {
  const database = 'shop "1"; --'
  const made = { name: database }
  await succeed(await platform.api('POST', '/v1/clusters/main/databases', made))
  assert.ok((await listNames('databases')).includes(database))
  const app: SqlTarget = { cluster: main, database }
  await platform.sql(app, 'create table before (id integer)')
  const reader = await createRole({ name: "Reader's", access: 'read', database })
  const writer = await createRole({ name: 'writer', access: 'write', database })
  const nobody = await createRole({ name: 'nobody', access: 'none' })
  await platform.sql(app, 'create table later (id integer)')

  for (const table of ['before', 'later']) {
    await platform.sql(as(writer, database), `insert into ${table} values (1)`)
    assert.deepEqual(await platform.sql(as(reader, database), `table ${table}`), [{ id: 1 }])
    const write = `insert into ${table} values (2)`
    assert.equal(await refusal(as(reader, database), write), DENIED)
    assert.equal(await refusal(as(writer, database), `drop table ${table}`), DENIED)
  }
  assert.equal(await refusal(as(writer, database), 'create table own (id integer)'), DENIED)
  assert.equal(await refusal(as(reader, 'app'), 'select 1'), DENIED)
  assert.equal(await refusal(as(nobody, database), 'select 1'), DENIED)

  const owned = { name: 'private', owner: 'nobody' }
  await succeed(await platform.api('POST', '/v1/clusters/main/databases', owned))
  await platform.sql(as(nobody, 'private'), 'create table mine (id integer)')
  assert.equal(await refusal({ cluster: main, database: 'private' }, 'table mine'), POOLER_REFUSED)
  for (const query of ['table pg_authid', 'create role more', 'create database more']) {
    assert.equal(await refusal({ cluster: main }, query), DENIED, query)
  }
})

test('a rotated password replaces the old one, and a deleted role is gone', async () => {
  const before = await createRole({ name: 'rotated', access: 'read', database: 'app' })
  await platform.sql(as(before, 'app'), 'select 1')
  const path = '/v1/clusters/main/roles/rotated'
  const reply = await platform.api<RoleAccepted>('POST', `${path}/rotate-password`)
  await succeed(reply)
  const after = { role: 'rotated', password: reply.body.credentials?.password ?? '' }
  for (const purpose of ['write', 'write-direct'] as const) {
    await platform.sql({ ...as(after, 'app'), purpose }, 'select 1')
    const code = await refusal({ ...as(before, 'app'), purpose }, 'select 1')
    assert.ok([WRONG_PASSWORD, POOLER_REFUSED].includes(code), code)
  }
  await succeed(await platform.api<OperationAccepted>('DELETE', path))
  assert.equal((await listNames('roles')).includes('rotated'), false)
  assert.equal(await refusal(as(after, 'app'), 'select 1'), WRONG_PASSWORD)

  const gone = '/v1/clusters/main/databases/gone'
  await succeed(await platform.api('POST', '/v1/clusters/main/databases', { name: 'gone' }))
  await succeed(await platform.api<OperationAccepted>('DELETE', gone))
  assert.equal((await listNames('databases')).includes('gone'), false)
  const again = await finish(await platform.api<OperationAccepted>('DELETE', gone))
  assert.equal(again.error?.code, 'not-found')
})

test('platform roles with their right passwords are refused to clients', async () => {
  const db = await connectPlatformDb(platform)
  const sealer = await readSealer(join(platform.home, 'platform/master.key'))
  const secrets = await readSecrets(db, sealer, main.cluster.id).finally(() => db.end())
  const [instance] = main.cluster.instances
  assert.ok(instance !== undefined)
  const { address, port } = instance
  // An address that is no host of the platform: where clients come from.
  const from = `${platform.subnet}.77`
  for (const [role, secret] of [
    ['postgres', 'superuser'],
    ['howdah_replication', 'replication'],
    ['howdah_rewind', 'rewind'],
    ['howdah_pooler', 'pooler'],
    ['howdah_gateway', 'gateway'],
    ['howdah_probe', 'probe'],
  ] as const) {
    const password = secrets.get(secret) ?? ''
    assert.notEqual(password, '')
    const target = { cluster: main, user: role, password, database: 'postgres' }
    const direct = { ...target, at: { address, port, from } }
    assert.equal(await refusal(direct, 'select 1'), REJECTED, `${role} at the instance`)
    const name = { name: role }
    assert.equal((await platform.api('POST', '/v1/clusters/main/roles', name)).status, 422)
  }
  for (const [role, secret] of [
    ['postgres', 'superuser'],
    ['howdah_replication', 'replication'],
    ['howdah_rewind', 'rewind'],
  ] as const) {
    const password = secrets.get(secret) ?? ''
    const target = { cluster: main, user: role, password, database: 'app' }
    assert.equal(await refusal(target, 'select 1'), POOLER_REFUSED, `${role} at the pooler`)
  }
})
