// Proves recovery-gaps without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gapWithin, refuseGap, refuseLeft, replayedStretch } from './recovery-gaps.ts'
import type { BackupChoice, RecoveryTarget } from './recovery-plan.ts'
import { sampleBackup } from './testing/sample-backup.ts'

const backups = [
  sampleBackup(1, '2026-11-01', '0/2000000'),
  sampleBackup(2, '2026-11-03', '0/5000000'),
  sampleBackup(3, '2026-11-05', '0/9000000'),
]
/** After the second backup, and before the third. */
const gaps = [{ timeline: 1, first: 6, last: 7 }]

function refuse(number: number, target: RecoveryTarget, inPlace: boolean): void {
  const chosen = backups[number - 1] as BackupChoice
  refuseGap({ backup: chosen, target, said: 'that moment' }, { gaps, backups, inPlace })
}

const at = (day: number) => ({ kind: 'time', value: `2026-11-0${day} 12:00:00+00:00` }) as const

test('a restore in place is refused where WAL may be missing before its moment', () => {
  assert.throws(() => refuse(2, at(4), true), {
    code: 'outside-window',
    message:
      'that moment: WAL is missing after backup 20261103-000000F, perhaps before that: ' +
      '000000010000000000000006 to 000000010000000000000007 (2 segments); in place an LSN before ' +
      '0/6000000 can, or anything from backup 20261105-000000F on; howdah fork tries it without ' +
      'stopping anything',
  })
  assert.throws(() => refuse(1, { kind: 'xid', value: '700' }, true), /perhaps before that/)
})

test('a fork to a moment that may be behind missing WAL is tried', () => {
  refuse(2, at(4), false)
  refuse(1, { kind: 'xid', value: '700' }, false)
})

test('a moment before the end of a backup is before WAL that is missing later', () => {
  refuse(1, at(2), true)
  refuse(3, at(6), true)
  refuse(3, { kind: 'xid', value: '700' }, true)
  refuse(2, { kind: 'immediate', value: '' }, true)
})

test('where the place of the target is known, WAL that is missing after it does not count', () => {
  for (const inPlace of [true, false]) {
    refuse(2, { kind: 'lsn', value: '0/5FFFFFF' }, inPlace)
    assert.throws(() => refuse(2, { kind: 'lsn', value: '0/6000000' }, inPlace), /between backup/)
    assert.throws(() => refuse(2, { kind: 'latest', value: '' }, inPlace), /between backup/)
    refuse(3, { kind: 'latest', value: '' }, inPlace)
  }
})

test('what a replay reads survives a record of it', () => {
  const target = { kind: 'latest', value: '' } as const
  const plan = { backup: backups[1] as BackupChoice, target }
  const stretch = replayedStretch(plan, backups)
  assert.deepEqual(gapWithin(gaps, JSON.parse(JSON.stringify(stretch))), gaps[0])
})

test('a backup of a timeline that was left is measured by nothing', () => {
  const target = { kind: 'latest', value: '' } as const
  const plan = { backup: backups[1] as BackupChoice, target }
  assert.equal(gapWithin(gaps, replayedStretch(plan, backups.slice(0, 1))), undefined)
})

test('of a backup of a timeline that was left only its own end can be restored', () => {
  const [first, left] = backups as [BackupChoice, BackupChoice]
  const plan = (backup: BackupChoice, target: RecoveryTarget) =>
    refuseLeft({ backup, target, said: 'LSN 0/9' }, [first])
  plan(first, { kind: 'latest', value: '' })
  plan(left, { kind: 'immediate', value: '' })
  for (const kind of ['latest', 'lsn', 'time', 'xid'] as const) {
    assert.throws(() => plan(left, { kind, value: '' }), {
      code: 'outside-window',
      message: /^LSN 0\/9: backup 20261103-000000F was taken on timeline 1, .* only that end can/,
    })
  }
})
