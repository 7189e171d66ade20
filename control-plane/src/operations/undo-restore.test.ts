// Proves, on a real platform database and with agents that a test plays, that an undo has every
// repository forget what was written since the restore, also one that the cluster has left.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { assignRepository } from '../backups/repository-access.ts'
import { syncBackups } from '../db/backups.ts'
import { activateNext, insertRepository } from '../db/repositories.ts'
import { ensureUndo } from '../db/restore-undo.ts'
import { type PlayedCluster, playCluster } from '../testing/play-cluster.ts'
import { isWrittenSince, undoRestore } from './undo-restore.ts'

const [FIRST, SECOND] = ['20261113-010000F', '20261120-010000F']
let played: PlayedCluster
/** What was run in the repository whose path is there, in order. */
let ran: string[]
/** Labels by the path of the repository. */
let held: Record<string, string[]>

before(async () => {
  played = await playCluster()
  const { database, sealer, clusterId, operationId } = played.step
  const cluster = { id: clusterId, name: 'demo', spec: { postgres_version: '15' } }
  const add = async (name: string, next: boolean) => {
    const settings = { path: `/srv/${name}` }
    const row = { name, kind: 'directory', settings, isDefault: false, place: null }
    const { id } = await insertRepository(database, row)
    await assignRepository(database, sealer, cluster, id, next)
    return { cluster_id: clusterId, repository_id: id }
  }
  const old = await add('old', false)
  const undo = { clusterId, operationId, leaderId: null, timelines: [1], keepDays: 7 }
  await database.transaction((tx) => ensureUndo(tx, undo))
  const present = await add('new', true)
  await activateNext(database, clusterId, 7)
  await syncBackups(database, old, [backup(FIRST, 1), backup(SECOND, 2)])
  await syncBackups(database, present, [backup(SECOND, 2)])
  await database.query("update host set facts = $1, seen_at = now() + interval '1 hour'", [
    JSON.stringify({ root: '/srv/host', programs: {} }),
  ])
  await played.report('demo-1')
})
beforeEach(() => {
  ran = []
  held = { old: [FIRST, SECOND], new: [SECOND] }
})
after(async () => {
  await played?.stop()
})

function backup(label: string, timeline: number) {
  const info = { timeline, lsn_start: '0/2000028', lsn_stop: '0/2000100', needs: [], size_bytes: 1 }
  const at = new Date('2026-11-20T01:00:00Z')
  return { label, type: 'full', info, startedAt: at, stoppedAt: at, operationId: null } as never
}

function listed(label: string): unknown {
  const timeline = label === FIRST ? '00000001' : '00000002'
  const segment = `${timeline}0000000000000002`
  return {
    label,
    type: 'full',
    reference: null,
    archive: { start: segment, stop: segment },
    lsn: { start: '0/2000028', stop: '0/2000100' },
    info: { size: 1, delta: 1, repository: { delta: 1 } },
    timestamp: { start: 1, stop: 2 },
  }
}

/** Timeline 2 began with the restore, and went on in both. */
function answer(action: TaskAction, away: string): unknown {
  const { config } = (action as Extract<TaskAction, { kind: 'pgbackrest' }>).repository
  const name = /repo1-path=\/srv\/([a-z]+)\//.exec(config)?.[1] ?? ''
  if (name === away) throw new Error('it does not answer')
  if (action.kind === 'list-archive') {
    const first = { timeline: 1, first: 1, last: 4 }
    const second = { timeline: 2, first: 3, last: 5 }
    const ranges = name === 'old' ? [first, second] : [second]
    return { ranges, histories: [2], segments: 7, bytes: 7 }
  }
  assert.ok(action.kind === 'pgbackrest')
  const { command, options, operands } = action
  const labels = held[name] ?? []
  if (command === 'info') {
    const status = { code: 0, message: '' }
    const stanza = { name: played.step.clusterId, backup: labels.map(listed), status }
    return { output: JSON.stringify([stanza]) }
  }
  ran.push([name, command, ...options, ...operands].join(' '))
  // The program keeps the last full one.
  if (command === 'expire' && labels.length < 2) throw new Error('it is the last one')
  if (command === 'expire') held[name] = labels.filter((each) => !options[0]?.endsWith(each))
  return { output: '' }
}

async function forget(away = ''): Promise<void> {
  played.play((action) => answer(action, away))
  const { step: context } = played
  const step = async <T>(name: string, body: (step: typeof context) => Promise<T>) =>
    name === 'forget' ? await body(context) : (undefined as T)
  const { operationId, clusterId } = context
  await undoRestore.run({ operationId, clusterId, input: {}, step } as never)
}

test('a repository that the cluster has left since the restore forgets it, too', async () => {
  await forget()
  const archive = `archive/${played.step.clusterId}/15-1`
  assert.deepEqual(
    ran.toSorted(),
    ['new', 'old'].flatMap((name) => [
      `${name} expire --set=${SECOND}`,
      `${name} repo-rm --recurse ${archive}/0000000200000000`,
      `${name} repo-rm ${archive}/00000002.history`,
    ]),
  )
  const { rows } = await played.step.database.query<{ label: string; damage: string }>(
    `select r.name || ' ' || label as label, damage from backup
     join repository r on r.id = repository_id order by 1`,
  )
  assert.deepEqual(rows, [
    { label: `new ${SECOND}`, damage: 'it was taken after a restore that was undone' },
    { label: `old ${FIRST}`, damage: '' },
  ])
})

test('one that does not answer is named, and keeps no other from being cleaned', async () => {
  await forget('old')
  assert.deepEqual(ran.filter((each) => each.startsWith('new repo-rm')).length, 2)
  const said = played.said.find((each) => each.startsWith('the repository old was not cleaned'))
  assert.match(said ?? '', /a fork that begins with a backup there may follow what was undone/)
})

test('what was left before the restore, or need not be kept, is not asked', () => {
  const undo = { created_at: new Date(1000) }
  const isAsked = (retired: number | null, expires: number | null) => {
    const at = (ms: number | null) => (ms === null ? null : new Date(ms))
    return isWrittenSince({ retired_at: at(retired), expires_at: at(expires) }, undo, 5000)
  }
  assert.equal(isAsked(null, null), true)
  assert.equal(isAsked(2000, 9000), true)
  assert.equal(isAsked(500, 9000), false)
  assert.equal(isAsked(2000, 5000), false)
})
