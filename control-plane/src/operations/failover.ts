// Changes the leader when the present one cannot answer. Refuses when acknowledged data could be
// lost, unless told that this is accepted; the loss receipt says afterwards what it was.
import { randomUUID } from 'node:crypto'
import { HowdahError } from '@howdah/core/errors.ts'
import type { TaskResult } from '@howdah/core/protocol.ts'
import { hostsById, leaderOf, observe, patroniOf } from '../clusters/cluster-view.ts'
import { findCluster, type InstanceRow, listInstances } from '../db/clusters.ts'
import { insertGuardEvent } from '../db/guard-events.ts'
import type { HostRow } from '../db/hosts.ts'
import { readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { askAgent } from './agent-task.ts'
import { waitReplicas } from './bring-up.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

/** Beyond the lease: an old leader that nobody can reach loses it by then. */
const NEW_LEADER_TIMEOUT_MS = 60_000

export interface FailoverInput {
  to: string | null
  accept_loss: boolean
}

export const failover: OperationDefinition<FailoverInput> = {
  kind: 'failover',
  steps: [
    { name: 'choose', title: 'chooses the instance that shall lead' },
    { name: 'promote', title: 'has it take over' },
    { name: 'wait-replicas', title: 'waits until the others follow' },
  ],
  async run({ step, input }) {
    const chosen = await step('choose', (context) => choose(context, input))
    await step('promote', (context) => promote(context, chosen))
    await step('wait-replicas', (context) => waitReplicas(context))
  },
}

interface Chosen {
  name: string
  /** It has every acknowledged commit. */
  safe: boolean
}

async function choose(step: StepContext, input: FailoverInput): Promise<Chosen> {
  const cluster = await findCluster(step.database, step.clusterId)
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  const leader = leaderOf(hosts, rows)
  const candidates = observe(hosts, rows)
    .filter(({ name, patroni }) => name !== leader?.name && patroni?.state === 'running')
    .filter(({ name }) => input.to === null || name === input.to)
    // The synchronous replica, then whoever has most of the WAL.
    .sort(
      (a, b) =>
        Number(b.patroni?.role === 'sync-replica') - Number(a.patroni?.role === 'sync-replica') ||
        Number(BigInt(b.patroni?.walPosition ?? '0') - BigInt(a.patroni?.walPosition ?? '0')),
    )
  const best = candidates[0]
  if (best === undefined) {
    const said = input.to === null ? 'no replica is running' : `${input.to} is no running replica`
    throw new HowdahError('wrong-state', said)
  }
  const safe = cluster?.spec.durability !== 'async' && best.patroni?.role === 'sync-replica'
  if (!safe && !input.accept_loss) {
    const said = `${best.name} was not synchronous: acknowledged commits could be missing on it`
    throw new HowdahError('wrong-state', `${said}; send accept_loss to go on`)
  }
  await step.say(`${best.name} shall lead${safe ? '' : ', a loss is accepted'}`)
  return { name: best.name, safe }
}

async function promote(step: StepContext, { name, safe }: Chosen): Promise<void> {
  const rows = await listInstances(step.database, step.clusterId)
  const row = rows.find((candidate) => candidate.name === name) as InstanceRow
  const hosts = await hostsById(step.database)
  // By a run of this step that died.
  if (leaderOf(hosts, rows)?.name === name) return
  const host = hosts.get(row.host_id) as HostRow
  // Before it is done: a control plane that dies here must not let the receipt claim too much.
  if (!safe) await tellAcceptedLoss(step, row)
  const answer = await askForFailover(step, row, host)
  const topics = rows.map((instance) => `report:${instance.host_id}`)
  await step.until(topics, NEW_LEADER_TIMEOUT_MS, async () => {
    const now = await hostsById(step.database)
    const leader = leaderOf(now, rows)
    if (leader?.name === name) {
      await step.say(`${name} leads`)
      return true
    }
    if (answer.refusal !== '') throw new HowdahError('agent-refused', answer.refusal)
    const state = patroniOf(now, row)?.state ?? 'is not heard of'
    const said = leader === undefined ? `no leader yet; ${name} ${state}` : `${leader.name} leads`
    await step.say([said, answer.said].filter((part) => part !== '').join('; '))
    return undefined
  })
}

/** The loss receipt reads it: what this instance lacks may have been acknowledged. */
async function tellAcceptedLoss(step: StepContext, row: InstanceRow): Promise<void> {
  await step.database.transaction((tx) =>
    insertGuardEvent(tx, row.host_id, {
      id: randomUUID(),
      clusterId: step.clusterId,
      at: new Date().toISOString(),
      kind: 'loss-accepted',
      instance: row.name,
      message: 'asked for, with a loss accepted',
    }),
  )
}

interface Answer {
  /** Patroni will not do it, and why. */
  refusal: string
  /** Patroni does not know how it ends; reports will tell. */
  said: string
}

/** Asked at the candidate: the leader's own Patroni is the one that may not answer. */
async function askForFailover(step: StepContext, row: InstanceRow, host: HostRow): Promise<Answer> {
  const answer: Answer = { refusal: '', said: '' }
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  // It comes when all is over, Patroni looking once a second; we look ourselves meanwhile.
  void askAgent(step, {
    hostId: host.id,
    operationId: step.operationId,
    timeoutMs: NEW_LEADER_TIMEOUT_MS,
    action: {
      kind: 'patroni',
      address: host.address,
      port: row.rest_port,
      caPem: secrets.get(SECRET.caCertificate) ?? '',
      user: 'howdah',
      password: secrets.get('rest') ?? '',
      method: 'POST',
      path: '/failover',
      body: { candidate: row.name },
    },
  }).then(
    (result) => Object.assign(answer, readAnswer(result)),
    () => undefined,
  )
  return answer
}

/** 503 is "not known": also when an agent had taken the leader's key away meanwhile. */
export function readAnswer(result: Pick<TaskResult, 'ok' | 'error' | 'value'>): Answer {
  if (!result.ok) return { refusal: '', said: result.error }
  const { status, body } = result.value as { status: number; body: unknown }
  if (status < 400) return { refusal: '', said: '' }
  const words = typeof body === 'string' ? body : JSON.stringify(body)
  const text = `Patroni answered ${status}: ${words}`
  return status === 503 ? { refusal: '', said: text } : { refusal: text, said: '' }
}
