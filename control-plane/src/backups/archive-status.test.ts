// Proves what a look at an archive says to recoveries, without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ArchiveStatus, isWhole, NOTHING_SEEN } from './archive-status.ts'

const SEEN: ArchiveStatus = {
  ...NOTHING_SEEN,
  presentLsn: '0/8000060',
  archivedLsn: '0/8000000',
  failing: false,
  givenUp: false,
  archives: true,
}
const backup = { info: { lsn_start: '0/5000028' } }

test('an archive is whole up to the segment that is being written', () => {
  assert.equal(isWhole(SEEN, backup), true)
  assert.equal(isWhole({ ...SEEN, presentLsn: '0/9000000' }, backup), true)
  assert.equal(isWhole({ ...SEEN, presentLsn: '0/9000001' }, backup), false)
  // Before the backup: nothing of it is replayed.
  const old = { timeline: 1, first: 2, last: 4 }
  assert.equal(isWhole({ ...SEEN, gaps: [old] }, backup), true)
  assert.equal(isWhole({ ...SEEN, gaps: [{ ...old, last: 5 }] }, backup), false)
})

test('an archive that nobody could look at, or that did not work, is not called whole', () => {
  const doubts: Partial<ArchiveStatus>[] = [
    { error: 'it does not answer' },
    { failing: true },
    { givenUp: true },
    { archives: false },
    { archivedLsn: null },
  ]
  for (const doubt of doubts) {
    assert.equal(isWhole({ ...SEEN, ...doubt }, backup), false, JSON.stringify(doubt))
  }
  assert.equal(isWhole(undefined, backup), false)
})
