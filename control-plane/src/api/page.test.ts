// Proves cursors: the pages of a list are the list, and a cursor that is not ours is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import fc from 'fast-check'
import { parseCursor, toPage } from './page.ts'

const SEED = 20_250_710

test('the pages one after the other are the list, whatever their size', () => {
  const rows = Array.from({ length: 37 }, (_, index) => ({ id: newId('cluster', index) }))
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), (limit) => {
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const after = parseCursor(cursor)
        const found = rows.filter(({ id }) => id > after).slice(0, limit + 1)
        const page = toPage(found, limit, ({ id }) => id)
        assert.ok(page.data.length <= limit)
        seen.push(...page.data)
        cursor = page.next_cursor ?? undefined
      } while (cursor !== undefined)
      assert.deepEqual(
        seen,
        rows.map(({ id }) => id),
      )
    }),
    { seed: SEED, numRuns: 50 },
  )
})

test('an empty list is one page', () => {
  assert.deepEqual(
    toPage([], 10, (row) => row),
    { data: [], next_cursor: null },
  )
})

test('a cursor that we did not make is refused', () => {
  const text = fc.oneof(fc.string(), fc.base64String(), fc.constantFrom("' or 1=1", '../', '\0'))
  fc.assert(
    fc.property(text, (cursor) => {
      const refused = (error: unknown) =>
        error instanceof HowdahError && error.code === 'bad-request'
      assert.throws(() => parseCursor(cursor), refused)
    }),
    { seed: SEED, numRuns: 300 },
  )
  assert.equal(parseCursor(undefined), '')
})
