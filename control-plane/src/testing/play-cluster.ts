// Owns a cluster of three instances and one gateway on a real platform database, whose agents a
// test plays: it says who leads, answers each task, and keeps what was asked.
import { randomBytes } from 'node:crypto'
import type { PatroniStatus, TaskAction } from '@howdah/core/protocol.ts'
import { pino } from 'pino'
import { listenForChanges, notifyChange } from '../changes.ts'
import { readConfig } from '../config.ts'
import type { Database } from '../database.ts'
import {
  type InstanceRow,
  insertCluster,
  insertPlacement,
  listInstances,
  setClusterState,
} from '../db/clusters.ts'
import { insertHost, recordReport } from '../db/hosts.ts'
import { listPendingTasks, recordResult } from '../db/tasks.ts'
import { noFaults } from '../faults.ts'
import { type StepContext, stepTimeout } from '../operations/operation.ts'
import { makeSealer } from '../sealing.ts'
import { SPEC, startDatabase } from './start-database.ts'

const STATUS: PatroniStatus = {
  role: 'replica',
  state: 'running',
  streaming: true,
  timeline: 1,
  walPosition: '100',
  pendingRestart: false,
  serverVersion: 150_000,
  replicas: [],
}

export interface PlayedCluster {
  /** Of an operation whose id nobody looks up. */
  step: StepContext
  /** What agents were asked, in order. */
  asked: TaskAction[]
  said: string[]
  /** From now on `leader` leads, and `synchronous` is its synchronous replica. */
  report(leader: string | undefined, synchronous?: string): Promise<void>
  /** The value of each task; what it throws is the agent's refusal. */
  play(answer: (action: TaskAction) => unknown): void
  stop(): Promise<void>
}

/** `demo` with demo-1, demo-2 and demo-3, durability `sync`. */
export async function playCluster(): Promise<PlayedCluster> {
  const started = await startDatabase()
  const { database, url } = started
  const log = pino({ level: 'silent' })
  const changes = await listenForChanges(url, log)
  const sealer = makeSealer(randomBytes(32))
  const clusterId = await insertAll(database)
  const instances = await listInstances(database, clusterId)
  const config = readConfig({ HOWDAH_DATABASE_URL: url, HOWDAH_MASTER_KEY_FILE: 'none' })
  const asked: TaskAction[] = []
  const said: string[] = []
  let answer: (action: TaskAction) => unknown = () => null

  async function runTasks(hostId: string, known: Set<string>): Promise<void> {
    for (const task of await listPendingTasks(database, sealer, hostId, [...known])) {
      if (known.has(task.id)) continue
      known.add(task.id)
      asked.push(task.action)
      const done = { id: task.id, ok: true, value: null as unknown, error: '', errorCode: '' }
      try {
        done.value = await answer(task.action)
      } catch (error) {
        Object.assign(done, { ok: false, error: String(error), errorCode: 'refused' })
      }
      await database.transaction((tx) => recordResult(tx, hostId, done))
    }
  }
  for (const { host_id: hostId } of instances) {
    const known = new Set<string>()
    changes.subscribe(`host:${hostId}`, () => void runTasks(hostId, known).catch(() => undefined))
  }

  const step: StepContext = {
    ...{ database, sealer, changes, faults: noFaults, log, config, clusterId },
    operationId: 'op_played',
    throwIfCancelled: async () => {},
    async say(message) {
      said.push(message)
    },
    async until(topics, timeoutMs, look) {
      const found = await changes.waitUntil(topics, Date.now() + timeoutMs, look)
      if (found === undefined) throw stepTimeout('the step', timeoutMs, said.at(-1) ?? '')
      return found
    },
  }
  return {
    step,
    asked,
    said,
    report: (leader, synchronous) => report(database, instances, leader, synchronous),
    play(next) {
      answer = next
    },
    async stop() {
      await changes.close()
      await started.stop()
    },
  }
}

async function report(
  database: Database,
  instances: readonly InstanceRow[],
  leader: string | undefined,
  synchronous: string | undefined,
): Promise<void> {
  const replicas = instances
    .filter(({ name }) => name !== leader)
    .map(({ name }) => ({ name, state: 'streaming', syncState: 'async' }))
  for (const { id, name, host_id } of instances) {
    const role = name === synchronous ? 'sync-replica' : 'replica'
    const patroni: PatroniStatus =
      name === leader ? { ...STATUS, role: 'leader', replicas } : { ...STATUS, role }
    const service = { name: `patroni-${id}`, state: 'up', ready: true } as const
    const services = [{ ...service, pid: 1, sinceEpoch: 0, message: '', patroni }]
    await recordReport(database, host_id, { appliedRevision: 0, applyError: '', services })
    await notifyChange(database, `report:${host_id}`)
  }
}

async function insertAll(database: Database): Promise<string> {
  const { id } = await insertCluster(database, 'demo', {
    ...SPEC,
    instances: 3,
    durability: 'sync',
  })
  await setClusterState(database, id, 'available', '')
  const hosts: string[] = []
  for (const number of [1, 2, 3]) {
    const host = await insertHost(database, {
      name: `host-${number}`,
      address: `127.0.0.${number}`,
      role: 'data',
      sourceAddresses: [],
      labels: {},
    })
    hosts.push(host.id)
  }
  const ports = { write: 1, read: 2, writeDirect: 3, readDirect: 4, pooler: 5, stats: 6 }
  await database.transaction((tx) =>
    insertPlacement(
      tx,
      { id, name: 'demo' },
      {
        instances: hosts.map((hostId, index) => ({
          hostId,
          number: index + 1,
          postgresPort: 5432,
          restPort: 8008,
        })),
        gateways: [{ hostId: hosts[0] as string, number: 1, ports }],
      },
    ),
  )
  return id
}
