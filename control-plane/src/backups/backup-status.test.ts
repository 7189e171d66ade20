// When a cluster's backups are called well: not while its leader archives nothing, nor while
// anything from now on is at risk through a gap.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatLsn, SEGMENT_BYTES } from '@howdah/core/wal.ts'
import type { BackupRow } from '../db/backups.ts'
import type { ArchiveStatus } from './archive-status.ts'
import { judge } from './backup-status.ts'

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

function stateOf(rows: BackupRow[], status: Partial<ArchiveStatus>, more: object = {}): string {
  const newest = rows[0] ?? null
  const seen = {
    repository: 'local',
    newest_backup: newest,
    newest_proven: newest,
    rpo_cluster_bytes: 0,
    rpo_cluster_seconds: 0,
    ...more,
  }
  return judge(seen, { ...STATUS, ...status }, rows).state
}

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

test('a newest backup that is damaged is broken without any gap', () => {
  assert.equal(stateOf([backup('full', 4, 'bad'), backup('full', 3)], {}), 'broken')
})

test('archived, backed up and proven is well, and nothing less', () => {
  const rows = [backup('full', 3)]
  assert.equal(stateOf(rows, {}), 'ok')
  assert.equal(stateOf(rows, { archives: false }), 'behind')
  assert.equal(stateOf(rows, { isStuck: true }), 'behind')
  assert.equal(stateOf(rows, {}, { rpo_cluster_bytes: null }), 'behind')
  assert.equal(stateOf(rows, {}, { newest_proven: null }), 'unproven')
})
