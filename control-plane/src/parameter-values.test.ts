// Proves on a real PostgreSQL that it reads every canonical value that we accept, up to the limits:
// a value that it refuses would let an instance run until its next start, and then never again.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import {
  PARAMETER_RULES,
  type ParameterRule,
  parseParameter,
  requiresRestart,
} from '@howdah/core/parameters.ts'
import { sharedMemoryBytes } from '@howdah/core/shared-memory.ts'
import type pg from 'pg'
import { startPostgres, type TestPostgres } from './testing/start-postgres.ts'

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

function samples(rule: ParameterRule): (string | number | boolean)[] {
  switch (rule.type) {
    case 'boolean':
      return [true, false]
    case 'enum':
      return [...rule.values]
    case 'integer':
      return [rule.minimum, rule.minimum + 1, rule.maximum]
    case 'number':
      return [rule.minimum, rule.maximum, Math.min(rule.maximum, rule.minimum + 0.5)]
    case 'size':
      return [`${rule.minimumBytes}B`, `${rule.minimumBytes + 1}B`, `${rule.maximumBytes}B`]
    case 'duration':
      return [rule.minimumMs === -1 ? '-1' : `${rule.minimumMs}ms`, '90s', `${rule.maximumMs}ms`]
    case 'pattern':
      return ['ISO', 'ISO, DMY', 'ISO, YMD', 'ISO,MDY']
    case 'timezone':
      return ['UTC', 'GMT', 'Asia/Ho_Chi_Minh', 'America/Argentina/Buenos_Aires', 'Etc/GMT+12']
  }
}

/** What PostgreSQL's own check says of the value: nothing is started and nothing is changed. */
async function refusal(name: string, value: string): Promise<string | undefined> {
  const args = ['-D', postgres.dataDirectory, '-C', 'data_directory', '-c', `${name}=${value}`]
  try {
    await postgres.runProgram('postgres', args)
    return undefined
  } catch (error) {
    return String((error as { stderr?: string }).stderr ?? error)
  }
}

test('the oracle sees a wrong value', async () => {
  assert.match((await refusal('work_mem', '1xB')) ?? '', /invalid value/)
})

for (const [name, rule] of Object.entries(PARAMETER_RULES)) {
  test(`PostgreSQL reads every value of ${name} that we accept`, async () => {
    for (const sample of samples(rule)) {
      let value: string
      try {
        value = parseParameter(name, sample)
      } catch {
        // A sample in the middle may lie outside a narrow range.
        continue
      }
      assert.equal(await refusal(name, value), undefined, `${name} = ${value}`)
    }
  })
}

test('PostgreSQL knows every parameter of the list, and agrees which need a restart', async () => {
  const { rows } = await client.query<{ name: string; context: string }>(
    'select lower(name) as name, context from pg_settings',
  )
  const contexts = new Map(rows.map((row) => [row.name, row.context]))
  for (const name of Object.keys(PARAMETER_RULES)) {
    const context = contexts.get(name)
    assert.notEqual(context, undefined, `${name} is unknown`)
    assert.equal(requiresRestart(name), context === 'postmaster', `${name} is ${context}`)
  }
})

test('PostgreSQL knows every time zone that we accept', async () => {
  for (const zone of Intl.supportedValuesOf('timeZone')) {
    let value: string
    try {
      value = parseParameter('timezone', zone)
    } catch {
      continue
    }
    await client.query("select set_config('TimeZone', $1, false)", [value])
  }
})

const MEMORY_SAMPLES: Record<string, string>[] = [
  {},
  { shared_buffers: '16MB' },
  { shared_buffers: '16GB', wal_buffers: '1GB' },
  { shared_buffers: '1TB', max_connections: '500' },
  { max_connections: '10000' },
  { max_connections: '2000', max_locks_per_transaction: '1000' },
  { max_connections: '10000', max_locks_per_transaction: '100000' },
  { max_connections: '5000', max_pred_locks_per_transaction: '500' },
  { max_connections: '3000', track_activity_query_size: '1048576' },
  { max_prepared_transactions: '10000', max_worker_processes: '1024' },
]

test('the shared memory that we expect is what PostgreSQL takes, within a quarter', async (t) => {
  const { rows } = await client.query("select from pg_settings where name = 'shared_memory_size'")
  if (rows.length === 0) return t.skip('this PostgreSQL cannot tell: it is older than 15')
  // It tells so only of a directory in which no PostgreSQL runs.
  const idle = `${postgres.dataDirectory}-idle`
  await postgres.runProgram('initdb', ['-D', idle, '--no-sync', '--auth=trust'])
  for (const sample of MEMORY_SAMPLES) {
    const values = { shared_buffers: '128MB', max_connections: '100', ...sample }
    const settings = Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const args = ['-D', idle, '-C', 'shared_memory_size', ...settings]
    const real = Number((await postgres.runProgram('postgres', args)).stdout) * 1024 * 1024
    const ratio = sharedMemoryBytes(new Map(Object.entries(values))) / real
    assert.ok(ratio > 0.75 && ratio < 1.25, `${JSON.stringify(sample)}: ${ratio}`)
  }
})
