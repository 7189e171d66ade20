// When a cluster's backups are called well: not while its leader archives nothing, nor while
// anything from now on is at risk through a gap.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatLsn, SEGMENT_BYTES } from '@howdah/core/wal.ts'
import type { BackupRow } from '../db/backups.ts'
import { type ArchiveStatus, EMPTIED } from './archive-status.ts'
import { clusterRpo, growthPerDay, judge, proofEnd, recoverableWindow } from './backup-status.ts'

const HOUR_MS = 3_600_000

const STATUS: ArchiveStatus = {
  presentLsn: '0/14000000',
  timeline: 1,
  starts: [],
  archivedLsn: '0/14000000',
  lastSegment: '000000010000000000000013',
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

/** A backup that begins in that segment of timeline 1. */
function backup(type: BackupRow['type'], segment: number, damage = ''): BackupRow {
  const lsn = formatLsn(BigInt(segment) * BigInt(SEGMENT_BYTES) + 40n)
  return {
    id: `bkp_${segment}`,
    cluster_id: 'clu_1',
    repository_id: 'rep_1',
    repository: 'local',
    label: `label-${segment}`,
    type,
    info: {
      timeline: 1,
      lsn_start: lsn,
      lsn_stop: lsn,
      size_bytes: 1,
      read_bytes: 1,
      repository_bytes: 1,
      needs: [],
      page_errors: false,
    },
    started_at: new Date(segment),
    stopped_at: new Date(segment),
    operation_id: null,
    proven_at: null,
    proven_ms: null,
    damage,
  }
}

type Seen = Parameters<typeof judge>[0]

function judged(rows: BackupRow[], status: Partial<ArchiveStatus>, more: Partial<Seen> = {}) {
  const seen = {
    repository: 'local',
    newest_backup: rows[0] ?? null,
    proof: { atMs: Date.now(), endMs: Date.now() + HOUR_MS },
    drillFailure: '',
    rpo_cluster_bytes: 0,
    rpo_cluster_seconds: 0,
    ...more,
  }
  return judge(seen, { ...STATUS, ...status }, rows)
}

const stateOf = (...args: Parameters<typeof judged>): string => judged(...args).state

const gaps = [{ timeline: 1, first: 5, last: 7 }]

test('a gap is broken until a full backup lies behind it, and not for longer', () => {
  const old = backup('full', 3)
  assert.equal(stateOf([old], {}), 'ok')
  assert.equal(stateOf([old], { gaps }), 'broken')
  // One that begins where the gap ends needs what is missing.
  assert.equal(stateOf([backup('full', 7), old], { gaps }), 'broken')
  assert.equal(stateOf([backup('full', 8), old], { gaps }), 'ok')
})

test('a later gap is broken again, whatever was closed before', () => {
  const again = [...gaps, { timeline: 1, first: 12, last: 12 }]
  assert.equal(stateOf([backup('full', 8), backup('full', 3)], { gaps: again }), 'broken')
  assert.equal(stateOf([backup('full', 13), backup('full', 8)], { gaps: again }), 'ok')
})

test('what closes a gap is a full backup that can be used', () => {
  const old = backup('full', 3)
  assert.equal(stateOf([backup('differential', 9), old], { gaps }), 'broken')
  assert.equal(
    stateOf([backup('differential', 10), backup('full', 9, 'bad'), old], { gaps }),
    'broken',
  )
  assert.equal(stateOf([backup('differential', 10), backup('full', 9), old], { gaps }), 'ok')
  // Taken later on a timeline that was left.
  const starts = [{ timeline: 2, lsn: formatLsn(BigInt(8) * BigInt(SEGMENT_BYTES)) }]
  assert.equal(stateOf([backup('full', 9), old], { gaps, starts }), 'broken')
})

test('growth is what is kept by the time that it is kept for, however old the cluster is', () => {
  const DAY_MS = 24 * HOUR_MS
  const rows = [14, 7].map((days) => ({ started_at: new Date(Date.now() - days * DAY_MS) }))
  assert.equal(growthPerDay(rows, { archiveBytes: 1400 }, Date.now()), 100)
  assert.equal(growthPerDay([], { archiveBytes: 1400 }, Date.now()), null)
  const fresh = [{ started_at: new Date(Date.now() - HOUR_MS / 2) }]
  assert.equal(growthPerDay(fresh, { archiveBytes: 1400 }, Date.now()), null)
})

test('what PostgreSQL counts as archived while nobody can look is not said to be there', () => {
  const rows = [backup('full', 3)]
  const seen = { ...STATUS, archivedAt: STATUS.lastAt, presentLsn: '0/15000000' }
  assert.equal(recoverableWindow(rows, seen)?.to, STATUS.lastAt)
  const unseen = { ...seen, lastAt: new Date().toISOString(), error: 'no answer' }
  assert.equal(recoverableWindow(rows, unseen)?.to, STATUS.lastAt)
  assert.ok((clusterRpo(unseen).seconds ?? 0) > 60)
  assert.equal(clusterRpo(unseen).bytes, 16 * 1024 * 1024)
  // Of a version that did not tell the two apart.
  assert.equal(recoverableWindow(rows, STATUS)?.to, STATUS.lastAt)
})

test('what can be restored begins behind the last gap, and with a backup that is sound', () => {
  const [first, second, third] = [backup('full', 3), backup('full', 8), backup('differential', 9)]
  const from = (status: Partial<ArchiveStatus>, ...rows: BackupRow[]) =>
    recoverableWindow(rows, { ...STATUS, ...status })?.lsn_from
  assert.equal(from({}, third, second, first), first.info.lsn_stop)
  assert.equal(from({ gaps }, third, second, first), second.info.lsn_stop)
  assert.equal(from({}, third, second, { ...first, damage: 'bad' }), second.info.lsn_stop)
  assert.equal(from({ gaps }, first), undefined)
  assert.equal(from({}), undefined)
})

test('a newest backup that is damaged is broken without any gap', () => {
  assert.equal(stateOf([backup('full', 4, 'bad'), backup('full', 3)], {}), 'broken')
})

test('archived, backed up and proven is well, and nothing less', () => {
  const rows = [backup('full', 3)]
  assert.equal(stateOf(rows, {}), 'ok')
  assert.equal(stateOf(rows, { archives: false }), 'behind')
  assert.equal(stateOf(rows, { error: 'no answer' }), 'behind')
  assert.equal(stateOf(rows, { error: `${EMPTIED}; mount it` }), 'broken')
  assert.equal(stateOf(rows, { isStuck: true }), 'behind')
  assert.equal(stateOf(rows, {}, { rpo_cluster_bytes: null }), 'behind')
  assert.equal(stateOf(rows, {}, { proof: null }), 'unproven')
})

test('a proof counts for two of its drills, and for two days at least', () => {
  const at = Date.parse('2026-11-18T04:10:00Z')
  const end = (cron: string | undefined) => {
    const endMs = proofEnd(at, cron === undefined ? undefined : { cron })
    return endMs === null ? null : new Date(endMs).toISOString()
  }
  assert.equal(end('UTC 0 4 * * *'), '2026-11-20T04:10:00.000Z')
  assert.equal(end('UTC 0 * * * *'), '2026-11-20T04:10:00.000Z')
  // A Wednesday: the one after next.
  assert.equal(end('UTC 0 4 * * 3'), '2026-12-02T04:00:00.000Z')
  assert.equal(end(undefined), null)
})

test('a proof that is too old is none, and drills that failed since are told', () => {
  const rows = [backup('full', 3)]
  const atMs = Date.now() - 72 * HOUR_MS
  const drillFailure = 'nothing is known of label-3: no answer'
  const old = judged(rows, {}, { proof: { atMs, endMs: Date.now() - 1 }, drillFailure })
  assert.equal(old.state, 'unproven')
  assert.match(old.message, /for 3 days.*the last drill failed: nothing is known of label-3/)
  const counts = judged(rows, {}, { proof: { atMs, endMs: Date.now() + HOUR_MS }, drillFailure })
  assert.equal(counts.state, 'ok')
  assert.match(counts.message, /proven; the last drill failed: nothing is known/)
  // Nobody promised another one.
  const alone = judged(rows, {}, { proof: { atMs, endMs: null } })
  assert.deepEqual(alone, {
    state: 'ok',
    message: 'archived, backed up and proven 3 days ago; no drill is scheduled',
  })
})
