// Proves on a real PostgreSQL that a quoted literal or identifier is read back as what it was,
// whatever it holds and whatever the session's settings are, and that nothing beside it comes into
// being.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { quoteIdentifier, quoteLiteral } from '@howdah/core/names.ts'
import { scramVerifier } from '@howdah/core/scram.ts'
import fc from 'fast-check'
import type pg from 'pg'
import { ensureLoginRole } from './operations/bring-up.ts'
import { HOSTILE_PIECES, hostileText } from './testing/hostile-text.ts'
import { startPostgres, type TestPostgres } from './testing/start-postgres.ts'

const SEED = 20_250_704
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

async function readBack(text: string): Promise<string> {
  const { rows } = await client.query<{ text: string }>(`select ${quoteLiteral(text)} as text`)
  return rows[0]?.text ?? ''
}

for (const strings of ['on', 'off']) {
  test(`a literal is read back with standard_conforming_strings ${strings}`, async () => {
    await client.query(`set standard_conforming_strings = ${strings}`)
    await client.query('set escape_string_warning = off')
    for (const piece of HOSTILE_PIECES) assert.equal(await readBack(piece), piece)
    await fc.assert(
      fc.asyncProperty(hostileText(2000), async (text) => {
        assert.equal(await readBack(text), text)
      }),
      { seed: SEED, numRuns: 500 },
    )
    await client.query('reset standard_conforming_strings')
  })
}

async function roleNames(): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    "select rolname as name from pg_roles where rolname !~ '^pg_' order by oid",
  )
  return rows.map(({ name }) => name)
}

test('a role gets exactly the name that was asked for, once and again', async () => {
  const verifier = scramVerifier('correct horse battery')
  const names = fc.oneof(fc.constantFrom(...HOSTILE_PIECES), hostileText(63))
  await fc.assert(
    fc.asyncProperty(names, async (name) => {
      const before = await roleNames()
      if (before.includes(name)) return
      for (let round = 0; round < 2; round += 1) {
        for (const { text, params } of ensureLoginRole(name, verifier)) {
          await client.query(text, params)
        }
      }
      assert.deepEqual(await roleNames(), [...before, name])
      const { rows } = await client.query(
        'select rolsuper, rolcanlogin, rolpassword from pg_authid where rolname = $1',
        [name],
      )
      assert.deepEqual(rows, [{ rolsuper: false, rolcanlogin: true, rolpassword: verifier }])
      await client.query(`drop role ${quoteIdentifier(name)}`)
    }),
    { seed: SEED, numRuns: 300 },
  )
})

test('a password whose verifier we made logs in, and another does not', async () => {
  const password = fc.stringMatching(/^[ -~]{12,40}$/)
  await fc.assert(
    fc.asyncProperty(password, async (secret) => {
      for (const { text } of ensureLoginRole('probe', scramVerifier(secret)))
        await client.query(text)
      const session = await postgres.connect('postgres', { user: 'probe', password: secret })
      await session.end()
      const wrong = postgres.connect('postgres', { user: 'probe', password: `${secret}x` })
      await assert.rejects(wrong, { code: '28P01' })
    }),
    { seed: SEED, numRuns: 40 },
  )
})
