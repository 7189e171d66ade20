// Proves, on a real platform database, what the last look at an archive leaves behind where there
// is nobody to ask: a doubt, and no older certainty.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { Database } from '../database.ts'
import { insertCluster } from '../db/clusters.ts'
import { activeStanza, insertRepository, storeStanzaStatus } from '../db/repositories.ts'
import type { StepContext } from '../operations/operation.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { NOTHING_SEEN, parseStatus } from './archive-status.ts'
import { lookLast } from './look-last.ts'
import { assignRepository } from './repository-access.ts'

let own: TestDatabase
let database: Database

before(async () => {
  own = await startDatabase()
  database = own.database
})
after(async () => {
  await own?.stop()
})

test('where nobody leads the last look leaves a doubt, unless all is stopped already', async () => {
  const settings = { path: '/srv/local' }
  const local = { name: 'local', kind: 'directory', settings, isDefault: false, place: null }
  const repository = await insertRepository(database, local)
  const cluster = await insertCluster(database, 'demo', SPEC)
  const sealer = makeSealer(randomBytes(32))
  await assignRepository(database, sealer, cluster, repository.id)
  await database.query(
    "insert into host (id, name, role, address) values ('hst_1', 'one', 'data', '127.0.0.1')",
  )
  await database.query(
    `insert into instance
       (id, cluster_id, host_id, number, name, postgres_port, rest_port, active)
     values ('ins_1', $1, 'hst_1', 1, 'demo-1', 1, 2, false)`,
    [cluster.id],
  )
  const stanza = { cluster_id: cluster.id, repository_id: repository.id }
  await storeStanzaStatus(database, stanza, { ...NOTHING_SEEN, archivedLsn: '0/5000000' })
  const step = { database, sealer, clusterId: cluster.id, say: async () => undefined }
  const look = async () => {
    await lookLast(step as unknown as StepContext)
    const { archivedLsn, error } =
      parseStatus((await activeStanza(database, cluster.id))?.status) ?? NOTHING_SEEN
    return { archivedLsn, error }
  }
  assert.deepEqual(await look(), { archivedLsn: '0/5000000', error: '' })
  await database.query('update instance set active = true')
  assert.deepEqual(await look(), {
    archivedLsn: '0/5000000',
    error: 'cluster demo has no leader now',
  })
})
