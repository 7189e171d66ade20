// Owns cursors: opaque to clients, the id of the last item to us.
import { HowdahError } from '@howdah/core/errors.ts'

export function parseCursor(cursor: string | undefined): string {
  if (cursor === undefined) return ''
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!/^[a-z]{2,3}_[0-9a-z]{26}$/.test(text)) {
    throw new HowdahError('bad-request', 'the cursor is not one of ours')
  }
  return text
}

/** `rows` holds one more than the page when there is a next page. */
export function toPage<Row extends { id: string }, Item>(
  rows: readonly Row[],
  limit: number,
  toItem: (row: Row) => Item,
): { data: Item[]; next_cursor: string | null } {
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const more = rows.length > limit && last !== undefined
  return {
    data: page.map(toItem),
    next_cursor: more ? Buffer.from(last.id).toString('base64url') : null,
  }
}
