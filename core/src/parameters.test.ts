// Proves what each kind of parameter accepts, refuses and makes of it; that PostgreSQL reads every
// canonical value is proven in control-plane/src/parameter-values.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HowdahError } from './errors.ts'
import { PARAMETER_RULES, parseParameter, parseParameters, requiresRestart } from './parameters.ts'

const SEED = 20_250_703

type Value = string | number | boolean

const accepted: [string, Value, string][] = [
  ['jit', true, 'on'],
  ['jit', 'TRUE', 'on'],
  ['jit', '1', 'on'],
  ['jit', 0, 'off'],
  ['jit', 'No', 'off'],
  ['max_connections', 100, '100'],
  ['max_connections', '0100', '100'],
  ['random_page_cost', 1.1, '1.1'],
  ['random_page_cost', '1.10', '1.1'],
  ['autovacuum_vacuum_cost_delay', -1, '-1'],
  ['work_mem', '64MB', '64MB'],
  ['work_mem', '1024 kB', '1MB'],
  ['work_mem', '65537B', '65537B'],
  ['wal_keep_size', 0, '0B'],
  ['statement_timeout', '90s', '90000ms'],
  ['statement_timeout', '1d', '86400000ms'],
  ['statement_timeout', 0, '0ms'],
  ['log_min_duration_statement', -1, '-1'],
  ['log_min_duration_statement', '-1', '-1'],
  ['log_statement', 'DDL', 'ddl'],
  ['default_transaction_isolation', 'Repeatable Read', 'repeatable read'],
  ['datestyle', 'ISO, DMY', 'ISO, DMY'],
  ['timezone', 'Asia/Ho_Chi_Minh', 'Asia/Ho_Chi_Minh'],
  ['timezone', 'America/Argentina/Buenos_Aires', 'America/Argentina/Buenos_Aires'],
  ['timezone', 'UTC', 'UTC'],
]

for (const [name, value, canonical] of accepted) {
  test(`${name} = ${JSON.stringify(value)} becomes ${canonical}`, () => {
    assert.equal(parseParameter(name, value), canonical)
  })
}

const refused: [string, Value][] = [
  ['jit', 'maybe'],
  ['jit', ''],
  ['jit', 2],
  ['max_connections', true],
  ['max_connections', 19],
  ['max_connections', 10_001],
  ['max_connections', 100.5],
  ['max_connections', '1e2'],
  ['max_connections', ' 100'],
  ['max_connections', '100\n'],
  ['max_connections', Number.NaN],
  ['max_connections', Number.POSITIVE_INFINITY],
  ['random_page_cost', '0x10'],
  ['random_page_cost', 1e21],
  ['work_mem', 65_536],
  ['work_mem', '64'],
  ['work_mem', '64mb'],
  ['work_mem', '64MB '],
  ['work_mem', '1.5GB'],
  ['work_mem', '63kB'],
  ['work_mem', '65GB'],
  ['work_mem', '-1'],
  ['wal_keep_size', '0ms'],
  ['wal_keep_size', '0abc'],
  ['temp_file_limit', '-1MB'],
  ['statement_timeout', '5'],
  ['statement_timeout', '5sec'],
  ['statement_timeout', '0B'],
  ['statement_timeout', '-1ms'],
  ['log_min_duration_statement', '-1MB'],
  ['log_min_duration_statement', '-2'],
  ['log_statement', 'ddl; drop table x'],
  ['log_statement', ''],
  ['datestyle', "ISO'"],
  ['datestyle', 'German'],
  ['datestyle', 'SQL, DMY'],
  ['timezone', 'Asia/Nowhere'],
  ['timezone', 'Europe/../../etc/passwd'],
  ['timezone', 'asia/ho_chi_minh'],
  ['timezone', 'posix/UTC'],
  ['timezone', "UTC'"],
  ['shared_preload_libraries', 'x'],
  ['archive_command', 'touch /x'],
  ['dynamic_library_path', '/x'],
  ['session_preload_libraries', 'x'],
  ['ssl_passphrase_command', 'x'],
  ['Work_Mem', '64MB'],
  ['work_mem\n', '64MB'],
  ['__proto__', '1'],
  ['constructor', '1'],
  ['toString', '1'],
  ['', '1'],
]

for (const [name, value] of refused) {
  test(`${JSON.stringify(name)} = ${JSON.stringify(value)} is refused with the field`, () => {
    assert.throws(
      () => parseParameter(name, value),
      (error) =>
        error instanceof HowdahError &&
        error.code === 'invalid-parameter' &&
        error.fields[0]?.pointer === `/parameters/${name}`,
    )
  })
}

test('a canonical value is its own canonical value', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.integer({ min: -2, max: 5000 }).map(String),
    fc
      .tuple(fc.integer({ min: -1, max: 9999 }), fc.constantFrom('', 'kB', 'MB', 'ms', 's', 'min'))
      .map(([amount, unit]) => `${amount}${unit}`),
  )
  const name = fc.constantFrom(...Object.keys(PARAMETER_RULES))
  fc.assert(
    fc.property(name, text, (parameter, value) => {
      let canonical: string
      try {
        canonical = parseParameter(parameter, value)
      } catch (error) {
        assert.ok(error instanceof HowdahError, String(error))
        return
      }
      assert.equal(parseParameter(parameter, canonical), canonical)
      assert.match(canonical, /^[A-Za-z0-9 ,./_+-]+$/)
    }),
    { seed: SEED, numRuns: 5000 },
  )
})

test('the limits of every parameter are themselves accepted', () => {
  for (const [name, rule] of Object.entries(PARAMETER_RULES)) {
    if (rule.type === 'integer' || rule.type === 'number') {
      for (const limit of [rule.minimum, rule.maximum]) parseParameter(name, limit)
      assert.throws(() => parseParameter(name, rule.maximum + 1))
    }
    if (rule.type === 'size') {
      for (const limit of [rule.minimumBytes, rule.maximumBytes]) parseParameter(name, `${limit}B`)
      assert.throws(() => parseParameter(name, `${rule.maximumBytes + 1}B`))
    }
    if (rule.type === 'duration') {
      for (const limit of [rule.minimumMs, rule.maximumMs]) {
        parseParameter(name, limit === -1 ? '-1' : `${limit}ms`)
      }
      assert.throws(() => parseParameter(name, `${rule.maximumMs + 1}ms`))
    }
    if (rule.type === 'enum') for (const value of rule.values) parseParameter(name, value)
  }
})

test('no parameter that names a command, a library or a path is on the list', () => {
  const dangerous = /command|library|libraries|preload|_file$|director|path|program|^ssl|hba|ident/
  assert.deepEqual(
    Object.keys(PARAMETER_RULES).filter((name) => dangerous.test(name)),
    [],
  )
})

test('several parameters are refused as a whole', () => {
  assert.deepEqual(parseParameters({ jit: true, work_mem: '4MB' }), { jit: 'on', work_mem: '4MB' })
  assert.throws(() => parseParameters({ jit: true, work_mem: '4' }))
})

test('a restart is asked for where PostgreSQL needs one', () => {
  assert.equal(requiresRestart('shared_buffers'), true)
  assert.equal(requiresRestart('work_mem'), false)
  assert.equal(requiresRestart('constructor'), false)
})
