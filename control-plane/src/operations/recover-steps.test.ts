// Proves the decisions of recoveries without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HowdahError } from '@howdah/core/errors.ts'
import type { HostRow } from '../db/hosts.ts'
import { SPEC } from '../testing/start-database.ts'
import { lackingRoom } from './first-instance.ts'
import type { StepContext } from './operation.ts'
import { laterStanza, type RecoveryInput, reachOfArchive, refuseTooEarly } from './recover-steps.ts'
import {
  refuseForeign,
  refuseMissing,
  requireRestorable,
  whatWasTakenBack,
} from './restore-cluster.ts'

const report = { lsn: '0/5000000', reachedEnd: true, lastCommitAt: '2026-11-21 10:00:00+00' }

test('a replay that ends before what is archived lacks WAL', () => {
  assert.throws(() => refuseTooEarly(report, { minimumLsn: '0/5000001' }), /WAL is missing/)
  refuseTooEarly(report, { minimumLsn: '0/5000000' })
  refuseTooEarly({ ...report, reachedEnd: false }, { minimumLsn: '0/9000000' })
})

test('a replay that ends in broken WAL says where, in what, and why', () => {
  const must = { minimumLsn: '0/5000001' }
  const end = { timeline: 1, lsn: '0/4FFFFD8', error: '' }
  const thrown = (error: string) => {
    try {
      refuseTooEarly({ ...report, end: { ...end, error } }, must)
    } catch (cause) {
      return cause as HowdahError
    }
    return undefined
  }
  assert.equal(thrown('')?.code, 'repository-failed')
  const away = thrown('ERROR: [042]: unable to get 000000010000000000000005: [HostConnectError]')
  assert.equal(away?.code, 'repository-failed')
  const broken = thrown('ERROR: [042]: unable to get 000000010000000000000005: [FormatError]')
  assert.equal(broken?.code, 'backup-damaged')
  assert.match(broken?.message ?? '', /ended at 0\/4FFFFD8 in 000000010000000000000004, before/)
  assert.match(broken?.message ?? '', /unable to get 000000010000000000000005: \[FormatError\]$/)
  assert.equal(broken?.extra['segment'], '000000010000000000000005')
  assert.equal(thrown('LOG: invalid magic number')?.extra['segment'], '000000010000000000000004')
})

test('where the newest WAL is not archived, the end of the archive is no proof of a moment', () => {
  const must = { minimumLsn: '0/4000000', target: true }
  assert.throws(() => refuseTooEarly(report, must), /before that moment: WAL is missing/)
  refuseTooEarly({ ...report, reachedEnd: false }, must)
})

test('a fork of what is gone must reach its moment unless all of its WAL is there', async () => {
  const step = { say: async () => undefined } as unknown as StepContext
  const stanza = { cluster_id: 'clu', repository_id: 'a' }
  const at = { kind: 'time', value: '2026-11-21 11:00:00+00:00' } as const
  const mustReach = async (target: RecoveryInput['target'], isWhole?: boolean) => {
    const archived = { lsn: '0/6000000', at: '2026-11-21T09:00:00Z', isWhole: isWhole ?? false }
    const input = { stanza, label: 'F', sizeBytes: 1, target, archived }
    return await reachOfArchive(step, input, null)
  }
  const must = await mustReach(at)
  assert.throws(() => refuseTooEarly(report, must), /before that moment: WAL is missing, or/)
  refuseTooEarly({ ...report, reachedEnd: false }, must)
  // An idle cluster commits nothing after its moment: where all was archived, that is its state.
  refuseTooEarly(report, await mustReach(at, true))
  refuseTooEarly(report, await mustReach({ kind: 'latest', value: '' }))
})

test('WAL that turns out to be missing keeps a restore in place from stopping anything', () => {
  const gaps = [{ timeline: 1, first: 6, last: 6 }]
  const needs = (first: number, last: number) => ({ label: 'F', reads: { first, last } })
  assert.throws(() => refuseMissing(needs(5, 9), gaps), {
    code: 'outside-window',
    message: 'WAL is missing after backup F, and nobody has it: 000000010000000000000006',
  })
  refuseMissing(needs(3, 5), gaps)
  refuseMissing(needs(7, 9), gaps)
  // Of an operation that an earlier version began.
  refuseMissing({ label: 'F' }, gaps)
})

test('only whoever has the undo may touch the data', () => {
  refuseForeign({ operation_id: 'op_1' }, 'op_1')
  assert.throws(() => refuseForeign(undefined, 'op_1'), { code: 'wrong-state' })
  assert.throws(() => refuseForeign({ operation_id: 'op_2' }, 'op_1'), { code: 'wrong-state' })
})

test('a cluster that is deleted, busy or paused is not restored, one that is broken is', () => {
  const demo = { name: 'demo', spec: SPEC }
  requireRestorable({ ...demo, state: 'failed' })
  requireRestorable({ ...demo, state: 'available' })
  assert.throws(() => requireRestorable({ ...demo, state: 'deleted' }), /demo is deleted/)
  const paused = { ...demo, spec: { ...SPEC, maintenance: true }, state: 'available' } as const
  assert.throws(() => requireRestorable(paused), /cluster demo is paused/)
  assert.throws(() => requireRestorable(undefined), { code: 'not-found' })
})

test('what a restore takes back begins at its moment, or at the last commit that it kept', () => {
  const kept = { ...report, reachedEnd: false }
  const name = {
    at: '2026-11-21T11:00:00.5Z',
    target: { kind: 'lsn', value: '0/4000000' },
  } as const
  assert.deepEqual(whatWasTakenBack(name, kept), {
    from: new Date('2026-11-21T11:00:00.500Z'),
    lsn: '0/4000000',
  })
  const xid = { at: null, target: { kind: 'xid', value: '700' } } as const
  assert.deepEqual(whatWasTakenBack(xid, kept), {
    from: new Date('2026-11-21T10:00:00Z'),
    lsn: '0/5000000',
  })
  assert.equal(whatWasTakenBack(xid, report), undefined)
  assert.equal(whatWasTakenBack(xid, { ...kept, lastCommitAt: null }), undefined)
})

function stanza(repository_id: string, day: number, retired?: number, expired?: number) {
  const at = (number: number) => new Date(Date.UTC(2026, 10, number))
  return {
    repository_id,
    created_at: at(day),
    retired_at: retired === undefined ? null : at(retired),
    expires_at: expired === undefined ? null : at(expired),
  }
}

const NOW = Date.UTC(2026, 10, 21)
const latest = { kind: 'latest', value: '' } as const
const stanzaOfA = { cluster_id: 'clu', repository_id: 'a' }

test('WAL goes on in the next repository, and not in one that was given up', () => {
  const a = stanza('a', 1, 5, 30)
  const b = stanza('b', 5)
  const input = { stanza: stanzaOfA, target: latest }
  assert.equal(laterStanza([a, b], ['a', 'b'], input, NOW), b)
  // Without a backup yet: both are archived to until it has one.
  assert.equal(laterStanza([a, b], ['a'], input, NOW), undefined)
  const givenUp = stanza('b', 5, 6, 6)
  assert.equal(laterStanza([stanza('a', 1), givenUp], ['a', 'b'], input, NOW), undefined)
})

test('a second repository is asked only where the target needs it', () => {
  const all = [stanza('a', 1, 5, 30), stanza('b', 5, 10, 30), stanza('c', 10)]
  const to = (kind: 'time' | 'immediate', value: string) =>
    laterStanza(all, ['a', 'b', 'c'], { stanza: stanzaOfA, target: { kind, value } }, NOW)
      ?.repository_id
  assert.equal(to('immediate', ''), undefined)
  assert.equal(to('time', '2026-11-04 00:00:00+00:00'), undefined)
  assert.equal(to('time', '2026-11-07 00:00:00+00:00'), 'b')
  assert.equal(to('time', '2026-11-15 00:00:00+00:00'), 'c')
})

test('a host that lacks room for the data is named, with what it has', () => {
  const host = (name: string, diskFreeBytes: number | undefined) =>
    ({ name, facts: diskFreeBytes === undefined ? null : { diskFreeBytes } }) as HostRow
  assert.equal(lackingRoom([host('h1', 1200), host('h2', undefined)], 1000), undefined)
  assert.match(lackingRoom([host('h1', 1199), host('h2', 9999)], 1000) ?? '', /1200.*h1 has 1199/)
})
