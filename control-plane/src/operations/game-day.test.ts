// Proves, on a real platform database and with agents that the test plays, whom a game day asks
// before it breaks anything, and what becomes of one that is interrupted.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { GameDayReport } from '@howdah/core/contract/drills.ts'
import type { PatroniStatus, TaskAction } from '@howdah/core/protocol.ts'
import { pino } from 'pino'
import { type Changes, listenForChanges } from '../changes.ts'
import type { Database } from '../database.ts'
import { type ClusterRow, insertCluster, setClusterState } from '../db/clusters.ts'
import { insertDrill, readReport } from '../db/drills.ts'
import { insertHost, recordReport } from '../db/hosts.ts'
import { listPendingTasks, recordResult } from '../db/tasks.ts'
import { noFaults } from '../faults.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase, type TestDatabase } from '../testing/start-database.ts'
import { type GameDayInput, gameDay } from './game-day.ts'
import { refuseUnlessToldTwice } from './game-day-consent.ts'
import type { OperationContext, Platform, StepContext } from './operation.ts'

const sealer = makeSealer(randomBytes(32))
const log = pino({ level: 'silent' })
const PORTS = { write: 6432, read: 6433, writeDirect: 6434, readDirect: 6435, stats: 6436 }

let own: TestDatabase
let database: Database
let changes: Changes
const hostIds: string[] = []
let scratch: ClusterRow

before(async () => {
  own = await startDatabase()
  database = own.database
  changes = await listenForChanges(own.url, log)
  for (const number of [1, 2]) {
    const host = { name: `host-${number}`, address: `127.0.0.${number}`, role: 'data' } as const
    hostIds.push((await insertHost(database, { ...host, sourceAddresses: [], labels: {} })).id)
  }
  scratch = await place('scratch', { 'howdah.test': 'true' })
})
after(async () => {
  await changes?.close()
  await own?.stop()
})

/** Its instance on host-1, its gateway on host-2. */
async function place(name: string, labels: Record<string, string>): Promise<ClusterRow> {
  const cluster = await insertCluster(database, name, { ...SPEC, labels })
  await setClusterState(database, cluster.id, 'available', '')
  await database.query(
    `insert into instance (id, cluster_id, host_id, number, name, postgres_port, rest_port)
     values ($1, $2, $3, 1, $4, 5432, 8008)`,
    [`ins_${name}`, cluster.id, hostIds[0], `${name}-1`],
  )
  await database.query(
    `insert into gateway (id, cluster_id, host_id, number, name, ports)
     values ($1, $2, $3, 1, $4, $5)`,
    [`gwy_${name}`, cluster.id, hostIds[1], `${name}-gateway-1`, PORTS],
  )
  return cluster
}

test('a test cluster beside one that is none is not broken before somebody was told', async () => {
  const ask = (toldTwice: boolean) =>
    refuseUnlessToldTwice(database, scratch.id, ['leader-host'], toldTwice)
  await ask(false)
  await place('prod', {})
  const named = /no test cluster \(label howdah\.test=true\): prod: .* name scratch/
  await assert.rejects(ask(false), { code: 'confirmation-missing', message: named })
  await ask(true)
  // Of its own services only.
  await refuseUnlessToldTwice(database, scratch.id, ['leader-process'], false)
  await database.query("delete from cluster where name = 'prod'")
  await ask(false)
})

const LEADS: PatroniStatus = {
  role: 'leader',
  state: 'running',
  streaming: false,
  timeline: 1,
  walPosition: '1',
  pendingRestart: false,
  serverVersion: 150000,
  replicas: [],
}

type Answer = (action: TaskAction) => { ok: boolean; value?: unknown; error?: string }

/** The agents of all hosts, until the signal: they report a leader, and answer as they are told. */
async function playAgents(answer: Answer, signal: AbortSignal): Promise<void> {
  const service = { name: 'patroni-ins_scratch', state: 'up' as const, ready: true, pid: 1 }
  const services = [{ ...service, sinceEpoch: 0, message: '', patroni: LEADS }]
  const topics = hostIds.map((id) => `host:${id}`)
  const play = async () => {
    for (const [index, id] of hostIds.entries()) {
      const report = { appliedRevision: 0, applyError: '', services: index === 0 ? services : [] }
      await recordReport(database, id, report)
      for (const task of await listPendingTasks(database, sealer, id, [])) {
        const { ok, value = null, error = '' } = answer(task.action)
        await recordResult(database, id, { id: task.id, ok, value, error, errorCode: '' })
      }
    }
  }
  await changes.waitUntil(topics, Number.POSITIVE_INFINITY, play, signal)
}

/** One attempt of an operation, from its first step on. */
async function attempt(operationId: string, input: GameDayInput, answer: Answer): Promise<void> {
  const platform = { database, sealer, changes, faults: noFaults, log } as Platform
  const context: StepContext = {
    ...platform,
    operationId,
    clusterId: scratch.id,
    throwIfCancelled: async () => undefined,
    say: async () => undefined,
    until: async (topics, timeoutMs, look) => {
      const found = await changes.waitUntil(topics, Date.now() + timeoutMs, look)
      if (found === undefined) throw new Error(`nothing was seen within ${timeoutMs} ms`)
      return found
    },
  }
  const operation: OperationContext<GameDayInput> = {
    operationId,
    clusterId: scratch.id,
    input,
    step: (_name, body) => body(context),
  }
  const over = new AbortController()
  const agents = playAgents(answer, over.signal)
  try {
    await gameDay.run(operation)
  } finally {
    over.abort()
    await agents
  }
}

const SEEN = {
  acknowledged: 10,
  failed: 1,
  lost: 0,
  longest_gap_ms: 500,
  leaders_at_once_max: 1,
  watched_ms: 10_000,
}

/** What each agent was asked to do, in order; SQL is answered with nothing. */
function makeAnswer(ledger: (round: number) => ReturnType<Answer>) {
  const asked: TaskAction[] = []
  const answer: Answer = (action) => {
    if (action.kind === 'sql')
      return { ok: true, value: action.statements.map(() => ({ rows: [] })) }
    asked.push(action)
    const round = asked.filter(({ kind }) => kind === 'run-ledger').length
    return action.kind === 'run-ledger' ? ledger(round) : { ok: true }
  }
  return { answer, asked: () => asked.map(({ kind }) => kind) }
}

test('a ledger that cannot be written ends the round before anything is broken', async () => {
  const { answer, asked } = makeAnswer(() => ({ ok: false, error: 'the disk is full' }))
  const input = { faults: ['haproxy' as const], rounds: 1, toldTwice: false }
  await assert.rejects(attempt('op_unwritten', input, answer), /the disk is full/)
  assert.deepEqual(asked(), ['run-ledger'])
})

async function reportOf(operationId: string): Promise<GameDayReport> {
  return (await readReport(database, operationId)) as GameDayReport
}

test('a game day that is tried again keeps the rounds that it has seen', async () => {
  const operationId = 'op_again'
  await insertDrill(database, { kind: gameDay.kind, clusterId: scratch.id, operationId })
  const faults = ['haproxy', 'pgbouncer', 'patroni'] as const
  const input = { faults: [...faults], rounds: 3, toldTwice: false }
  const first = makeAnswer((round) =>
    round === 1 ? { ok: true, value: SEEN } : { ok: false, error: 'the agent was restarted' },
  )
  await assert.rejects(attempt(operationId, input, first.answer), /the agent was restarted/)
  assert.equal((await reportOf(operationId)).rounds.length, 1)
  const second = makeAnswer(() => ({ ok: true, value: { ...SEEN, acknowledged: 20 } }))
  await attempt(operationId, input, second.answer)
  const { rounds } = await reportOf(operationId)
  assert.deepEqual(
    rounds.map(({ fault, acknowledged }) => [fault, acknowledged]),
    [
      ['haproxy', 10],
      ['pgbouncer', 20],
      ['patroni', 20],
    ],
  )
})

test('a game day in which writes were lost fails, and its report stays', async () => {
  const operationId = 'op_lost'
  await insertDrill(database, { kind: gameDay.kind, clusterId: scratch.id, operationId })
  const { answer } = makeAnswer(() => ({ ok: true, value: { ...SEEN, lost: 2 } }))
  const input = { faults: ['haproxy' as const], rounds: 1, toldTwice: false }
  const said = { code: 'drill-failed', message: '2 acknowledged writes were lost (haproxy)' }
  await assert.rejects(attempt(operationId, input, answer), said)
  assert.equal((await reportOf(operationId)).lost, 2)
})
