// Proves on a real PostgreSQL that what is written before a planned change leaves little for a
// shutdown: the segment is nearly full, and the next one is there.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type pg from 'pg'
import { startPostgres, type TestPostgres } from '../testing/start-postgres.ts'
import { FILL_WAL_SEGMENT } from './shorten-shutdown.ts'

const SEGMENT_BYTES = 16 * 1024 * 1024

let postgres: TestPostgres
let client: pg.Client

before(async () => {
  postgres = await startPostgres()
  client = await postgres.connect()
})

after(async () => {
  await client?.end()
  await postgres?.stop()
})

async function one<Row extends pg.QueryResultRow>(text: string): Promise<Row> {
  const { rows } = await client.query<Row>(text)
  return rows[0] as Row
}

async function fill(): Promise<{ offset: number; ahead: number }> {
  await client.query(FILL_WAL_SEGMENT.text, FILL_WAL_SEGMENT.params)
  await client.query('checkpoint')
  return one(
    `select (pg_walfile_name_offset(pg_current_wal_lsn())).file_offset as offset,
       (select count(*)::int from pg_ls_waldir()
        where name ~ '^[0-9A-F]{24}$' and name > pg_walfile_name(pg_current_wal_lsn())) as ahead`,
  )
}

test('a segment that has just begun is filled, and the next one is made', async () => {
  await client.query('select pg_switch_wal()')
  const { offset, ahead } = await fill()
  assert.ok(offset >= 0.75 * SEGMENT_BYTES && offset < 0.9 * SEGMENT_BYTES, `at ${offset}`)
  assert.ok(ahead > 0)
})

test('one that is nearly full stays as it is', async () => {
  const before = await one<{ lsn: string }>('select pg_current_wal_lsn() as lsn')
  await fill()
  const { bytes } = await one<{ bytes: string }>(
    `select pg_current_wal_lsn() - '${before.lsn}'::pg_lsn as bytes`,
  )
  assert.ok(Number(bytes) < 64 * 1024, `${bytes} bytes were written`)
})
