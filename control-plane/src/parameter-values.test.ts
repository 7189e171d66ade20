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
