// Goal: a pooler's lookups are opened where they are missing, and only there. Method: rows as
// PgBouncer 1.18 shows them; a whole platform does the rest (test/e2e/gateways.test.ts).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lackingLookups } from './client-lookups.ts'

const pool = (database: string, user: string, sessions: Record<string, string> = {}) => ({
  ...{ database, user, cl_active: '0', cl_waiting: '0' },
  ...{ sv_active: '0', sv_idle: '0', sv_used: '0', sv_tested: '0', sv_login: '0', ...sessions },
})

test('databases whose lookup has no session, of whatever kind', () => {
  const pools = [
    pool('pgbouncer', 'pgbouncer'),
    pool('app', 'howdah_pooler'),
    pool('app', 'app'),
    ...['active', 'idle', 'used', 'tested', 'login'].map((kind) =>
      pool(kind, 'howdah_pooler', { [`sv_${kind}`]: '1' }),
    ),
    pool('never looked up', 'howdah_probe'),
    pool('other "x"', 'howdah_pooler'),
  ]
  assert.deepEqual(lackingLookups(pools), ['app', 'other "x"'])
})
