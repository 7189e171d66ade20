// What is told of an archive: every gap once, and never that all is well while nobody could look.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { archiveNews, continueStatus } from './archive-news.ts'
import { type ArchiveStatus, EMPTIED } from './archive-status.ts'

const WELL: ArchiveStatus = {
  presentLsn: '0/5000000',
  timeline: 1,
  starts: [],
  archivedLsn: '0/5000000',
  lastSegment: '000000010000000000000004',
  lastAt: '2026-01-01T00:01:00.000Z',
  failedSegment: null,
  failedAt: null,
  waitingSegments: 0,
  gaps: [],
  gapsSince: null,
  archiveBytes: 1,
  archiveSegments: 4,
  error: '',
}
const FAILED = {
  failedSegment: '000000010000000000000005',
  failedAt: '2026-01-01T00:02:00.000Z',
  waitingSegments: 3,
}

/** What is told along a row of looks, each with what is different from one that is well. */
function told(...looks: Partial<ArchiveStatus>[]): string[][] {
  let before = WELL
  return looks.map((look) => {
    const now = continueStatus(before, { ...WELL, ...look }, '2026-01-01T00:03:00.000Z')
    const { news } = archiveNews('demo', before, now)
    before = now
    return news.map(({ kind }) => kind)
  })
}

const gap = (first: number, last = first) => ({ timeline: 1, first, last })

test('a repository that is away and comes back', () => {
  const away = { ...FAILED, error: 'no answer' }
  assert.deepEqual(told(away, away, FAILED, {}), [
    ['archive.failing', 'archive.unseen'],
    [],
    [],
    ['archive.works'],
  ])
})

test('WAL that is given up while nobody can look is told, and not that it is archived', () => {
  const away = { ...FAILED, error: 'no answer' }
  const given = {
    ...away,
    lastSegment: '000000010000000000000030',
    lastAt: '2026-01-01T00:05:00.000Z',
  }
  const back = { ...given, error: '', gaps: [gap(5, 48)] }
  assert.deepEqual(told(away, given, given, back), [
    ['archive.failing', 'archive.unseen'],
    ['archive.given-up'],
    [],
    ['archive.gap', 'archive.works'],
  ])
})

test('a place that has lost everything is told once, whatever was wrong with it before', () => {
  const gone = { error: `${EMPTIED}; mount it` }
  assert.deepEqual(told(gone, gone, { error: 'no answer' }, gone, {}, gone), [
    ['archive.gone'],
    [],
    [],
    ['archive.gone'],
    [],
    ['archive.gone'],
  ])
})

test('each gap is told once, also while an older one is still there', () => {
  const looks = [[gap(5)], [gap(5, 6)], [gap(5, 6), gap(9)], [gap(9)], []]
  assert.deepEqual(told(...looks.map((gaps) => ({ gaps }))), [
    ['archive.gap'],
    [],
    ['archive.gap'],
    [],
    ['archive.whole'],
  ])
})

test('a leader whose host cannot archive is told, and when another takes over', () => {
  assert.deepEqual(
    told({ archives: true }, { archives: false }, { archives: false }, { archives: true }),
    [[], ['archive.off'], [], ['archive.on']],
  )
})

test('WAL that waits without anything failing is told once it has waited for long', () => {
  const waits = { presentLsn: '0/7000001' }
  let before: ArchiveStatus = { ...WELL, presentLsn: '0/6000000' }
  const kinds = ['00:10', '01:10', '02:09', '02:11', '03:11'].map((at) => {
    const now = continueStatus(before, { ...WELL, ...waits }, `2026-01-01T00:${at}.000Z`)
    const { news } = archiveNews('demo', before, now)
    before = now
    return news.map(({ kind }) => kind)
  })
  assert.deepEqual(kinds, [[], [], [], ['archive.behind'], []])
  // It moves: then it is only late.
  const moved = { ...WELL, presentLsn: '0/9000001', archivedLsn: '0/6000000' }
  assert.equal(continueStatus(before, moved, '2026-01-01T00:05:00.000Z').isStuck, false)
})

test('a gap asks for a backup, its growth does not', () => {
  const first = continueStatus(WELL, { ...WELL, gaps: [gap(5)] }, '')
  assert.equal(archiveNews('demo', WELL, first).needsBackup, true)
  const grown = continueStatus(first, { ...WELL, gaps: [gap(5, 7)] }, '')
  assert.equal(archiveNews('demo', first, grown).needsBackup, false)
})
