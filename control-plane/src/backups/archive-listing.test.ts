// Proves, without a repository, that an archive that is listed in parts is known as if it were
// listed as a whole: what is new and what is repaired at once, what was removed anywhere in time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type ArchiveInventory,
  formatLsn,
  missingSegments,
  rangeOfDirectory,
  rangesOf,
  SEGMENT_BYTES,
  type WalRange,
} from '@howdah/core/wal.ts'
import { afterParts, afterWhole, type ListingPath, planListing } from './archive-listing.ts'
import { type ArchiveStatus, NOTHING_SEEN } from './archive-status.ts'

const FIRST = 1000
/** A store that holds these segments, and counts what is listed. */
class Store {
  numbers = new Set<number>()
  listed: string[] = []
  add(first: number, last: number): void {
    for (let number = first; number <= last; number += 1) this.numbers.add(number)
  }
  list(directories?: readonly string[]): ArchiveInventory {
    this.listed.push(...(directories ?? ['all']))
    const windows = directories?.flatMap((each) => rangeOfDirectory(each) ?? [])
    const within = (number: number) =>
      windows === undefined || windows.some(({ first, last }) => first <= number && number <= last)
    const found = [...this.numbers].filter(within).map((number) => ({ timeline: 1, number }))
    return { ranges: rangesOf(found), segments: found.length, bytes: found.length * 10 }
  }
}

/** One look, as the archive check makes it, where the leader says it has archived up to `last`. */
function look(store: Store, before: ArchiveStatus, last: number): ArchiveStatus {
  const from = { timeline: 1, number: FIRST }
  const to = { timeline: 1, number: last }
  const path: ListingPath = { oldest: from, starts: [], present: { ...to, number: last + 1 } }
  const plan = planListing(before, path)
  const part = (directories: string[]) => store.list(directories)
  const known =
    plan === undefined
      ? withRanges(store.list())
      : afterParts(before, plan, { recent: part(plan.recent), next: part(plan.next) })
  const { ranges, ...kept } = known
  const { listing: _, ...rest } = before
  return {
    ...rest,
    ...kept,
    archivedLsn: formatLsn(BigInt(last + 1) * BigInt(SEGMENT_BYTES)),
    gaps: missingSegments(ranges, { from, starts: [], to }),
  }
}

const withRanges = (inventory: ArchiveInventory) => ({
  ranges: inventory.ranges,
  ...afterWhole(inventory),
})

const gap = (first: number, last = first): WalRange => ({ timeline: 1, first, last })

function filled(segments: number): { store: Store; status: ArchiveStatus; last: number } {
  const store = new Store()
  const last = FIRST + segments - 1
  store.add(FIRST, last)
  return { store, last, status: look(store, NOTHING_SEEN, last) }
}

test('a small archive is listed as a whole each time, and in one call', () => {
  const { store, status, last } = filled(2000)
  assert.deepEqual(look(store, status, last).gaps, [])
  assert.deepEqual(store.listed, ['all', 'all'])
})

test('of a large one a look lists a few directories, and sees what is missing at its end', () => {
  const { store, status, last } = filled(100_000)
  store.listed = []
  store.add(last + 1, last + 5)
  store.numbers.delete(last + 3)
  const now = look(store, status, last + 5)
  assert.deepEqual(now.gaps, [gap(last + 3)])
  assert.ok(!store.listed.includes('all'))
  assert.ok(store.listed.length <= 12, `it lists ${store.listed.length} directories`)
  store.add(last + 3, last + 3)
  assert.deepEqual(look(store, now, last + 5).gaps, [])
})

test('what is removed anywhere is found within one round, and its repair at once', () => {
  const { store, last, status: first } = filled(50_000)
  for (const gone of [FIRST, FIRST + 25_000, last - 600]) {
    let status = first
    store.numbers.delete(gone)
    const looks = Math.ceil(50_000 / 256 / 8) + 1
    for (let index = 0; index < looks && status.gaps.length === 0; index += 1) {
      status = look(store, status, last)
    }
    assert.deepEqual(status.gaps, [gap(gone)])
    // It stays known while other directories are listed.
    for (let index = 0; index < 5; index += 1) status = look(store, status, last)
    assert.deepEqual(status.gaps, [gap(gone)])
    store.add(gone, gone)
    assert.deepEqual(look(store, status, last).gaps, [])
  }
})

test('sizes are those of the last whole round', () => {
  const { store, status: first, last } = filled(10_000)
  let status = first
  assert.deepEqual([status.archiveSegments, status.archiveBytes], [10_000, 100_000])
  for (const gone of [FIRST + 100, FIRST + 5000]) store.numbers.delete(gone)
  const seen = new Set<number>()
  for (let index = 0; index < 12; index += 1) {
    status = look(store, status, last)
    seen.add(status.archiveSegments)
  }
  assert.deepEqual([...seen], [10_000, 9998])
  assert.equal(status.archiveBytes, 99_980)
})

test('where too little is known all is listed', () => {
  const { status, last } = filled(10_000)
  const present = { timeline: 1, number: last + 1 }
  const path = { oldest: { timeline: 1, number: FIRST }, starts: [], present }
  assert.notEqual(planListing(status, path), undefined)
  assert.equal(planListing({ ...status, archivedLsn: null }, path), undefined)
  assert.equal(planListing(status, { ...path, oldest: undefined }), undefined)
  const { listing: _, ...unlisted } = status
  assert.equal(planListing(unlisted, path), undefined)
  // The history is another one: an undo went back to a timeline before.
  const starts = [{ timeline: 2, lsn: '0/5000000' }]
  assert.equal(planListing({ ...status, starts }, path), undefined)
})

test('of a timeline that was begun since the last look all is listed', () => {
  const { status, last } = filled(10_000)
  const start = last - 700
  const plan = planListing(status, {
    oldest: { timeline: 1, number: FIRST },
    starts: [{ timeline: 2, lsn: BigInt(start) * BigInt(SEGMENT_BYTES) }],
    present: { timeline: 2, number: last + 1 },
  })
  const begun = plan?.recent.filter((each) => each.startsWith('00000002')) ?? []
  assert.equal(begun.length, Math.floor((last + 1) / 256) - Math.floor(start / 256) + 1)
})
