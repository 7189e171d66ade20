// Proves recovery-plan without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { archivedFloor, isArchived, mayLackNewest, planRecovery } from './recovery-plan.ts'
import { sampleBackup } from './testing/sample-backup.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')

const all = [
  sampleBackup(3, '2026-11-20T00:00:00Z', '0/9000000', 'a flipped bit'),
  sampleBackup(1, '2026-11-18T00:00:00Z', '0/2000000'),
  sampleBackup(2, '2026-11-19T00:00:00Z', '0/5000000'),
]
const restorePoints = [{ name: 'before', lsn: '0/4000000', at: '2026-11-18T12:00:00Z' }]
const plan = (wanted: object) => planRecovery(all, wanted, { restorePoints, nowMs: NOW })

test('a recovery begins with the newest sound backup before its target', () => {
  assert.equal(plan({}).backup.id, 'bkp_2')
  assert.equal(plan({ at: '2026-11-18T20:00:00+07:00' }).backup.id, 'bkp_1')
  assert.equal(plan({ at: '2026-11-21T11:00:00Z' }).backup.id, 'bkp_2')
  assert.equal(plan({ lsn: '0/5000000' }).backup.id, 'bkp_2')
  assert.equal(plan({ lsn: '0/4ffffff' }).backup.id, 'bkp_1')
  assert.equal(plan({ restore_point: 'before' }).backup.id, 'bkp_1')
  assert.equal(plan({ xid: '700' }).backup.id, 'bkp_1')
})

test('a damaged backup is taken only by its name, and then its end is the target', () => {
  const named = plan({ backup: 'bkp_3' })
  assert.equal(named.backup.id, 'bkp_3')
  assert.equal(named.target.kind, 'immediate')
})

test('the target is in words that PostgreSQL reads before it knows a zone', () => {
  const { target } = plan({ at: '2026-11-20T10:00:00.123456Z' })
  assert.deepEqual(target, { kind: 'time', value: '2026-11-20 10:00:00.123456+00:00' })
})

test('what cannot be reached is refused, and the window is named', () => {
  const outside = { code: 'outside-window' }
  assert.throws(() => plan({ at: '2026-11-17T00:00:00Z' }), outside)
  assert.throws(() => plan({ at: '2026-11-22T00:00:00Z' }), outside)
  assert.throws(() => plan({ at: '2026-11-18T00:00:00Z' }), /from 2026-11-18T00:00:01.000Z to/)
  assert.throws(() => plan({ lsn: '0/1000000' }), outside)
  assert.throws(() => planRecovery([], {}, { restorePoints, nowMs: NOW }), outside)
  assert.throws(() => plan({ restore_point: 'after' }), { code: 'not-found' })
  assert.throws(() => plan({ backup: 'bkp_9' }), { code: 'not-found' })
  assert.throws(() => plan({ lsn: '0/5000000', xid: '7' }), { code: 'bad-request' })
})

const end = { atMs: Date.parse('2026-11-20T12:00:00Z'), lsn: '0/B000000', xid: '800' }
const reach = (wanted: object) => planRecovery(all, wanted, { restorePoints, nowMs: NOW, end })

test('a target beyond the end is refused, and the window is named', () => {
  assert.equal(reach({ lsn: '0/B000000' }).backup.id, 'bkp_2')
  assert.throws(() => reach({ lsn: '0/B000001' }), /from 0\/2000000 to 0\/B000000 can/)
  assert.throws(() => reach({ lsn: 'FF/0' }), { code: 'outside-window' })
  assert.equal(reach({ xid: '799' }).backup.id, 'bkp_1')
  assert.throws(() => reach({ xid: '800' }), { code: 'outside-window' })
  assert.match(reach({ xid: '799' }).accuracy, /is not found, and the recovery fails/)
  const late = { at: '2026-11-20T12:00:01Z' }
  assert.throws(() => reach(late), /not archived; from .* to 2026-11-20T12:00:00.000Z can/)
})

test('what a restore has taken back is refused, whatever its name', () => {
  const [fromMs, toMs] = ['2026-11-20T10:00:00Z', '2026-11-20T11:00:00Z'].map(Date.parse)
  const takenBack = [{ fromMs: fromMs as number, toMs: toMs as number, lsn: '0/9000000' }]
  const points = [
    { name: 'lost', lsn: '0/A000000', at: '2026-11-20T10:30:00Z' },
    { name: 'kept', lsn: '0/9000000', at: '2026-11-20T10:20:00Z' },
  ]
  const after = (wanted: object) =>
    planRecovery(all, wanted, { restorePoints: points, nowMs: NOW, takenBack })
  assert.throws(() => after({ at: '2026-11-20T10:30:00Z' }), /taken back by a restore; .* undo/)
  assert.throws(() => after({ restore_point: 'lost' }), { code: 'outside-window' })
  assert.equal(after({ restore_point: 'kept' }).at, '2026-11-20T10:20:00Z')
  assert.equal(after({ at: '2026-11-20T10:00:00Z' }).backup.id, 'bkp_2')
  assert.equal(after({ at: '2026-11-20T11:00:00Z' }).backup.id, 'bkp_2')
})

test('an LSN or a transaction that came again is said to be the one after the restore', () => {
  const part = (day: number, lsn: string) => {
    const toMs = Date.UTC(2026, 10, day, 11)
    return { fromMs: toMs - 3_600_000, toMs, lsn }
  }
  const takenBack = [part(20, '0/6000000'), part(19, '0/7000000')]
  const after = (wanted: object) =>
    planRecovery(all, wanted, { restorePoints, nowMs: NOW, takenBack }).said
  const second = 'and not what the restore of 2026-11-20T11:00:00.000Z took back under it'
  assert.equal(after({ lsn: '0/8000000' }), `LSN 0/8000000, ${second}`)
  assert.equal(after({ lsn: '0/6000001' }), `LSN 0/6000001, ${second}`)
  assert.equal(after({ xid: '700' }), `transaction 700, ${second}`)
  // What is before a restore is kept, whatever was written later.
  assert.equal(after({ lsn: '0/6000000' }), 'LSN 0/6000000')
  assert.equal(after({ restore_point: 'before' }), 'restore point before of 2026-11-18T12:00:00Z')
})

test('the newest WAL may be missing only where the target does not need it', () => {
  const archived = { lsn: '0/5000000', at: '2026-11-20T12:00:00Z' }
  const time = (value: string) => ({ kind: 'time', value }) as const
  assert.equal(isArchived({ kind: 'lsn', value: '0/5000000' }, archived), true)
  assert.equal(isArchived({ kind: 'lsn', value: '0/5000001' }, archived), false)
  assert.equal(isArchived({ kind: 'immediate', value: '' }, { lsn: null, at: null }), true)
  assert.equal(isArchived(time('2026-11-20 11:59:59+00:00'), archived), true)
  assert.equal(mayLackNewest(time('2026-11-20 12:30:00+00:00'), archived, true), false)
  assert.equal(mayLackNewest(time('2026-11-20 12:30:00+00:00'), archived, false), false)
  assert.equal(mayLackNewest({ kind: 'latest', value: '' }, archived, true), false)
  assert.equal(mayLackNewest({ kind: 'latest', value: '' }, archived, false), true)
  assert.equal(mayLackNewest({ kind: 'name', value: 'x' }, archived, true), false)
})

test('the end of an archive is expected to a segment', () => {
  assert.equal(archivedFloor({ lsn: '0/5000000', at: null }), '0/4000000')
  assert.equal(archivedFloor({ lsn: null, at: null }), null)
})
