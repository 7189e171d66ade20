// When a cluster's backups are called well: never while its leader archives nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { ArchiveStatus } from './archive-status.ts'
import { judge } from './backup-status.ts'

const backup = { damage: '' } as Backup
const seen = {
  repository: 'local',
  newest_backup: backup,
  newest_proven: backup,
  rpo_cluster_bytes: 0,
  rpo_cluster_seconds: 0,
}
const status = { gaps: [], error: '', archives: true } as unknown as ArchiveStatus

test('archived, backed up and proven is well, and nothing less', () => {
  assert.equal(judge(seen, status).state, 'ok')
  assert.equal(judge(seen, { ...status, archives: false }).state, 'behind')
  assert.equal(judge(seen, { ...status, isStuck: true }).state, 'behind')
  assert.equal(judge({ ...seen, rpo_cluster_bytes: null }, status).state, 'behind')
  assert.equal(judge({ ...seen, newest_proven: null }, status).state, 'unproven')
})
