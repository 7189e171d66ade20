// Backups in an S3 store, over TLS with an authority of its own: what is wrong with a store is said
// before it is accepted, and a store that goes away is told and hurts nobody.
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import type { Backup, Repository } from '@howdah/core/contract/backups.ts'
import type { ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { createAuthority } from '../../control-plane/src/certificates.ts'
import { ARCHIVE_FAULTS, type ArchiveFault, sufferFault } from '../harness/archive-faults.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { type FaultyS3, startFaultyS3 } from '../harness/faulty-s3.ts'
import { LONG } from '../harness/long.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 120_000
const FREE_TIMEOUT_MS = 120_000

let platform: TestPlatform
let store: FaultyS3
let cluster: TestCluster

before(async () => {
  store = await startFaultyS3()
  const environment = { HOWDAH_ARCHIVE_CHECK_SECONDS: '4' }
  platform = await startPlatform({ subnet: '127.103.0', environment })
})

after(async () => {
  await platform?.stop()
  await store?.[Symbol.asyncDispose]()
})

explainFailures(() => platform)

function add(change: Record<string, unknown>) {
  const { endpoint, port, bucket, key, secret } = store
  const body = {
    name: 'far',
    kind: 's3',
    endpoint,
    port,
    bucket,
    key,
    secret,
    uri_style: 'path',
    allow_private: true,
    ca_pem: store.caPem,
    ...change,
  }
  return platform.api<Repository & Problem>('POST', '/v1/repositories', body)
}

async function succeed(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  const operation = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

/** A backup may be running because it is its time: then the drill waits for it. */
async function drill() {
  return until('the drill to be accepted', FREE_TIMEOUT_MS, async () => {
    const path = '/v1/clusters/demo/restore-drills'
    const reply = await platform.api<OperationAccepted & Problem>('POST', path, {})
    return reply.status === 409 ? { seen: reply.body.detail } : { value: reply }
  })
}

test('a store that does not do what it should is not accepted, and says why', LONG, async () => {
  const stranger = (await createAuthority('somebody else')).certificatePem
  const cases: [Record<string, unknown>, RegExp][] = [
    // The test's store knows keys, and does not check signatures.
    [{ key: 'NOBODY' }, /403|forbidden/i],
    [{ ca_pem: stranger }, /certificate|verif|TLS/i],
    [{ bucket: 'nobody' }, /NoSuchBucket|404/],
    [{ port: 1 }, /refused|connect/i],
    [{ allow_private: false }, /private network/],
  ]
  for (const [change, says] of cases) {
    const reply = await add(change)
    assert.equal(reply.status, 422, JSON.stringify(reply.body))
    assert.match(reply.body.detail, says)
    assert.doesNotMatch(JSON.stringify(reply.body), /S3RVER/)
  }
  const { body } = await platform.api<{ data: Repository[] }>('GET', '/v1/repositories')
  assert.deepEqual(
    body.data.map(({ name }) => name),
    ['local'],
  )
})

test('a cluster is backed up there, proven and forked', async () => {
  const added = await add({})
  assert.equal(added.status, 201, JSON.stringify(added.body))
  assert.doesNotMatch(JSON.stringify(added.body), /S3RVER/)
  cluster = await platform.createCluster('demo', { instances: 1, repository: 'far' })
  await until('the first backup', 60_000, async () => {
    const path = '/v1/clusters/demo/backups'
    const { body } = await platform.api<{ data: Backup[] }>('GET', path)
    return body.data.length > 0 ? { value: true } : { seen: 'none' }
  })
  assert.ok((await readdir(store.directory)).includes(cluster.cluster.id))
  await sql({ cluster }, 'create table ledger as select generate_series(1, 1000) as n')
  await succeed(await drill())
  const body = { name: 'twin', instances: 1 }
  const reply = await platform.api<ClusterAccepted>('POST', '/v1/clusters/demo/fork', body)
  const twin = await readCluster(platform.api, reply.body, await succeed(reply))
  const [row] = await sql<{ n: number }>(
    { cluster: twin },
    'select count(*)::integer as n from ledger',
  )
  assert.equal(row?.n, 1000)
})

// What may happen to a store is more than fits here: `npm run backup-faults` tries all of it.
for (const name of ['away', 'unavailable', 'forgets']) {
  test(`a store that fails (${name}) is told, clients notice nothing, it catches up`, async () => {
    const fault = ARCHIVE_FAULTS.find((one) => one.name === name) as ArchiveFault
    const { writer } = await sufferFault({ platform, cluster, store }, fault)
    assert.deepEqual(writer.errors, [])
    assert.equal(writer.lost, 0)
  })
}

test('after all of this a backup is proven', async () => {
  await succeed(await drill())
})
