// Proves the rules for names at their edges; that quoting survives a real PostgreSQL is proven in
// control-plane/src/sql-quoting.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from './errors.ts'
import {
  parseDatabaseName,
  parseResourceName,
  parseRoleName,
  quoteIdentifier,
  quoteLiteral,
} from './names.ts'

const refused = (parse: () => unknown) =>
  assert.throws(parse, (error) => error instanceof HowdahError && error.code === 'invalid-name')

test('a resource name is what DNS, a file name and a URL all take', () => {
  for (const name of ['a', 'a1', 'a-b', `a${'b'.repeat(31)}`]) {
    assert.equal(parseResourceName(name), name)
  }
  const wrong = ['', 'A', '1a', '-a', 'a-', 'a_b', 'a.b', 'a b', 'a\n', '../a', 'á', 'a'.repeat(33)]
  for (const name of wrong) refused(() => parseResourceName(name))
})

test('a PostgreSQL name may hold anything that an identifier can', () => {
  for (const name of [
    'a',
    '"',
    "'",
    '\\',
    '$$',
    ' ',
    '\n',
    'ü',
    '🐘',
    '--',
    '../x',
    '{{a}}',
    '%s',
  ]) {
    assert.equal(parseRoleName(name), name)
    assert.equal(parseDatabaseName(name), name)
  }
})

test('a PostgreSQL name is counted in bytes: a longer one would be cut, and be another', () => {
  assert.equal(parseRoleName('r'.repeat(63)).length, 63)
  refused(() => parseRoleName('r'.repeat(64)))
  assert.equal(parseDatabaseName('é'.repeat(31)), 'é'.repeat(31))
  refused(() => parseDatabaseName('é'.repeat(32)))
  assert.equal(parseDatabaseName(`${'🐘'.repeat(15)}abc`).length, 33)
  refused(() => parseDatabaseName('🐘'.repeat(16)))
})

test('what cannot be stored is no name', () => {
  for (const name of ['', '\0', 'a\0b', '\ud800', 'a\udc00b']) {
    refused(() => parseRoleName(name))
    refused(() => parseDatabaseName(name))
  }
})

test('roles of PostgreSQL and of the platform are reserved, whatever follows their prefix', () => {
  const reserved = ['postgres', 'POSTGRES', 'public', 'none', 'current_user', 'session_user']
  const prefixed = ['pg_monitor', 'pg_', 'howdah_probe', 'Howdah_x', 'pg_\nx', 'howdah_\u2028x']
  for (const name of [...reserved, ...prefixed]) refused(() => parseRoleName(name))
  for (const name of ['postgres2', 'xpg_', 'howdah', 'pgx', 'app']) parseRoleName(name)
})

test('databases of PostgreSQL and of the platform are reserved', () => {
  for (const name of ['postgres', 'template0', 'Template1', 'howdah', 'pgbouncer']) {
    refused(() => parseDatabaseName(name))
  }
  for (const name of ['postgres ', 'template2', 'app']) parseDatabaseName(name)
})

test('quoting doubles what would end the quotes', () => {
  assert.equal(quoteIdentifier('a"b'), '"a""b"')
  assert.equal(quoteLiteral("a'b"), "'a''b'")
  assert.equal(quoteLiteral("a\\'b"), "E'a\\\\''b'")
})

test('NUL in a name that reached SQL is a bug of ours', () => {
  assert.throws(() => quoteIdentifier('a\0'), /^Error: BUG/)
  assert.throws(() => quoteLiteral('a\0'), /^Error: BUG/)
})
