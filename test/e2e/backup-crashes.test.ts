// A control plane that is killed in the middle of a backup, a drill or a fork goes on where it was:
// nothing is done twice that may not be, nothing is left behind.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { createBackup } from '../../control-plane/src/operations/create-backup.ts'
import { forkCluster } from '../../control-plane/src/operations/fork-cluster.ts'
import { restoreDrill } from '../../control-plane/src/operations/restore-drill.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { dieAlong } from '../harness/crash.ts'
import {
  explainFailures,
  readCluster,
  startPlatform,
  type TestPlatform,
} from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const NORMAL_MS = 60_000

let platform: TestPlatform
let cluster: TestCluster

before(async () => {
  platform = await startPlatform({ subnet: '127.103.0' })
  cluster = await platform.createCluster('demo', { instances: 1 })
  await until('the first backup', NORMAL_MS, async () =>
    (await backups()).length > 0 ? { value: true } : { seen: 'none' },
  )
  await sql({ cluster }, 'create table ledger as select generate_series(1, 1000) as n')
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

async function backups(): Promise<Backup[]> {
  const path = '/v1/clusters/demo/backups'
  return (await platform.api<{ data: Backup[] }>('GET', path)).body.data
}

type Definition = { kind: string; steps: readonly { name: string }[] }

async function dieAtEach<Reply extends OperationAccepted>(
  { kind, steps }: Definition,
  moment: 'before' | 'after',
  path: string,
  body: unknown,
) {
  const points = steps.map(({ name }) => `${kind}/${name}:${moment}`)
  const request = { method: 'POST', path: `/v1/clusters/demo/${path}`, body }
  const { reply, operation } = await dieAlong<Reply>(platform, points, request, NORMAL_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation))
  return { reply, operation }
}

const leftovers = () =>
  readdirSync(join(platform.home, 'hosts')).flatMap((host) => [
    ...readdirSync(join(platform.home, 'hosts', host, 'tasks')),
    ...readdirSync(join(platform.home, 'hosts', host, 'data')).filter((name) =>
      name.startsWith('drill_'),
    ),
  ])

test('one backup is made, not two, wherever the control plane dies', async () => {
  for (const moment of ['before', 'after'] as const) {
    const before = (await backups()).length
    await dieAtEach(createBackup, moment, 'backups', { type: 'incremental' })
    assert.equal((await backups()).length, before + 1)
  }
})

test('a drill ends with its finding, and its copy is gone', async () => {
  await dieAtEach(restoreDrill, 'after', 'restore-drills', {})
  assert.notEqual((await backups())[0]?.proven_at ?? null, null)
  assert.deepEqual(leftovers(), [])
})

test('a fork is whole', async () => {
  const body = { name: 'twin', instances: 1 }
  const forked = await dieAtEach<ClusterAccepted>(forkCluster, 'after', 'fork', body)
  const twin = await readCluster(platform.api, forked.reply, forked.operation)
  const counted = 'select count(*)::integer as n from ledger'
  const [row] = await sql<{ n: number }>({ cluster: twin }, counted)
  assert.equal(row?.n, 1000)
  assert.deepEqual(leftovers(), [])
})
