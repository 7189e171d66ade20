// Proves, on a real platform database, which instance a recovery begins with, and that none does
// where its repository does not have the backup. What agents would answer is given.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { assignRepository } from '../backups/repository-access.ts'
import type { Database } from '../database.ts'
import { insertCluster } from '../db/clusters.ts'
import { insertRepository } from '../db/repositories.ts'
import { recordResult } from '../db/tasks.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { chooseFirst } from './first-instance.ts'
import type { StepContext } from './operation.ts'
import type { RecoveryInput } from './recover-steps.ts'

const LABEL = '20261120-000000F'
const sealer = makeSealer(randomBytes(32))

let own: TestDatabase
let database: Database
let clusterId: string
let input: RecoveryInput

before(async () => {
  own = await startDatabase()
  database = own.database
  const settings = { path: '/srv/local' }
  const local = { name: 'local', kind: 'directory', settings, isDefault: false, place: null }
  const repository = await insertRepository(database, local)
  const cluster = await insertCluster(database, 'demo', { ...SPEC, instances: 2 })
  clusterId = cluster.id
  await assignRepository(database, sealer, cluster, repository.id)
  input = {
    stanza: { cluster_id: clusterId, repository_id: repository.id },
    label: LABEL,
    sizeBytes: 1000,
    target: { kind: 'immediate', value: '' },
  }
  for (const number of [1, 2]) {
    await database.query(
      `insert into host (id, name, role, address, seen_at)
       values ($1, $2, 'data', $3, now() + interval '1 hour')`,
      [`hst_${number}`, `host-${number}`, `127.0.0.${number}`],
    )
    await database.query(
      `insert into instance (id, cluster_id, host_id, number, name, postgres_port, rest_port)
       values ($1, $2, $3, $4, $1, 1, 2)`,
      [`ins_${number}`, clusterId, `hst_${number}`, number],
    )
  }
})
after(async () => {
  await own?.stop()
})

async function setFacts(number: number, programs: object, diskFreeBytes = 10_000): Promise<void> {
  const postgresql = { 15: '/usr/lib/postgresql/15/bin' }
  const facts = { root: '/srv/howdah', programs, postgresql, diskFreeBytes }
  await database.query('update host set facts = $2 where id = $1', [`hst_${number}`, facts])
}

interface Answer {
  ok: boolean
  value: unknown
  error: string
}

/** The answer comes as soon as somebody waits for it. */
function stepWith(answer: Answer): StepContext {
  const changes = {
    async waitUntil(topics: string[], _deadlineMs: number, look: () => Promise<unknown>) {
      const id = topics[0]?.slice('task:'.length) ?? ''
      const { rows } = await database.query<{ host_id: string }>(
        'select host_id from task where id = $1',
        [id],
      )
      await recordResult(database, rows[0]?.host_id ?? '', { id, ...answer, errorCode: '' })
      return look()
    },
  }
  const say = async () => undefined
  const step = { database, sealer, changes, clusterId, operationId: 'op_1', say }
  return step as unknown as StepContext
}

function listing(labels: readonly string[]): Answer {
  const backup = labels.map((label) => ({
    label,
    type: 'full',
    reference: null,
    archive: { start: '000000010000000000000003', stop: '000000010000000000000003' },
    lsn: { start: '0/3000028', stop: '0/3000100' },
    info: { size: 1000, delta: 1000, repository: { delta: 100 } },
    timestamp: { start: 1, stop: 2 },
  }))
  const status = { code: 0, message: 'ok' }
  const output = JSON.stringify([{ name: clusterId, backup, status }])
  return { ok: true, value: { output }, error: '' }
}

const PGBACKREST = { pgbackrest: '2.44' }

test('a recovery begins only where the repository has its backup', async () => {
  await setFacts(1, PGBACKREST)
  await setFacts(2, PGBACKREST)
  assert.equal(await chooseFirst(stepWith(listing([LABEL])), input), 'ins_1')
  await assert.rejects(chooseFirst(stepWith(listing(['20261119-000000F'])), input), {
    code: 'repository-failed',
    message: `${LABEL} is not in its repository any more`,
  })
})

test('a recovery does not begin where the repository does not answer', async () => {
  const away = { ok: false, value: null, error: 'unable to connect to store:443' }
  await assert.rejects(chooseFirst(stepWith(away), input), {
    code: 'repository-failed',
    message: 'unable to connect to store:443',
  })
})

test('a backup is fetched only to a host that has pgbackrest, and else that is said', async () => {
  await setFacts(1, {})
  assert.equal(await chooseFirst(stepWith(listing([LABEL])), input), 'ins_2')
  await setFacts(2, PGBACKREST, 1199)
  await assert.rejects(chooseFirst(stepWith(listing([LABEL])), input), {
    code: 'no-capacity',
    message: '1200 bytes are needed: host-2 has 1199 bytes free',
  })
  await setFacts(2, {})
  await assert.rejects(chooseFirst(stepWith(listing([LABEL])), input), {
    code: 'no-capacity',
    message: 'pgbackrest is not installed on host-1, host-2',
  })
})
