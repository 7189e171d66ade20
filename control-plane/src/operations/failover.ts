// Changes the leader when the present one cannot answer. Refuses when acknowledged data could be
// lost, unless told that this is accepted; the loss receipt says afterwards what it was.
import { randomUUID } from 'node:crypto'
import type { Durability } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { patroniRole } from '@howdah/core/patroni-role.ts'
import type { PatroniStatus, TaskResult } from '@howdah/core/protocol.ts'
import { hostsById, leaderOf, observe, patroniOf } from '../clusters/cluster-view.ts'
import { findCluster, type InstanceRow, listInstances } from '../db/clusters.ts'
import { insertGuardEvent } from '../db/guard-events.ts'
import type { HostRow } from '../db/hosts.ts'
import { readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { askAgent, runTask, type TaskRequest } from './agent-task.ts'
import { waitReplicas } from './bring-up.ts'
import { type OperationDefinition, type StepContext, unlessPaused } from './operation.ts'

/** Beyond the lease: an old leader that nobody can reach loses it by then. */
const NEW_LEADER_TIMEOUT_MS = 60_000
const ROLE_TIMEOUT_MS = 5000

export interface FailoverInput {
  to: string | null
  accept_loss: boolean
}

export const failover: OperationDefinition<FailoverInput> = {
  kind: 'failover',
  steps: [
    unlessPaused({ name: 'choose', title: 'chooses the instance that shall lead' }),
    unlessPaused({ name: 'promote', title: 'has it take over' }),
    { name: 'wait-replicas', title: 'waits until the others follow' },
  ],
  async run({ step, input }) {
    const { name } = await step('choose', (context) => choose(context, input))
    await step('promote', (context) => promote(context, name, input.accept_loss))
    await step('wait-replicas', (context) => waitReplicas(context))
  },
}

async function choose(step: StepContext, input: FailoverInput): Promise<{ name: string }> {
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
  const safe = judgeLoss(best.name, best.patroni?.role, cluster?.spec.durability, input.accept_loss)
  await step.say(`${best.name} shall lead${safe ? '' : ', a loss is accepted'}`)
  return { name: best.name }
}

/** Whether it has every acknowledged commit. Throws where it may not, and no loss is accepted. */
export function judgeLoss(
  name: string,
  role: PatroniStatus['role'] | undefined,
  durability: Durability | undefined,
  acceptLoss: boolean,
): boolean {
  const safe = durability !== 'async' && role === 'sync-replica'
  if (safe || acceptLoss) return safe
  const said = `${name} was not synchronous: acknowledged commits could be missing on it`
  throw new HowdahError('wrong-state', `${said}; send accept_loss to go on`)
}

/**
 * What it has is judged anew each time: it was chosen before a crash, or hours before a retry, and
 * leaders may have acknowledged without it since.
 */
async function promote(step: StepContext, name: string, acceptLoss: boolean): Promise<void> {
  const rows = await listInstances(step.database, step.clusterId)
  const row = rows.find((candidate) => candidate.name === name)
  if (row === undefined)
    throw new HowdahError('wrong-state', `there is no instance ${name} any more`)
  const hosts = await hostsById(step.database)
  // By a run of this step that died.
  if (leaderOf(hosts, rows)?.name === name) return
  const candidate = { row, host: hosts.get(row.host_id) as HostRow }
  const answer = await askUnlessLeading(step, candidate, acceptLoss)
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

async function askUnlessLeading(
  step: StepContext,
  candidate: Candidate,
  acceptLoss: boolean,
): Promise<Answer> {
  const { name } = candidate.row
  const role = await askRole(step, candidate)
  if (role === 'leader') return { refusal: '', said: '' }
  const cluster = await findCluster(step.database, step.clusterId)
  const safe = judgeLoss(name, role, cluster?.spec.durability, acceptLoss)
  // Before it is done: a control plane that dies here must not let the receipt claim too much.
  if (!safe) await tellAcceptedLoss(step, candidate.row)
  return askForFailover(step, candidate)
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

interface Candidate {
  row: InstanceRow
  host: HostRow
}

interface Answer {
  /** Patroni will not do it, and why. */
  refusal: string
  /** Patroni does not know how it ends; reports will tell. */
  said: string
}

/** Of its own Patroni: a report may be from before this control plane was away. */
async function askRole(step: StepContext, candidate: Candidate): Promise<PatroniStatus['role']> {
  const { body } = await runTask<{ body: unknown }>(step, {
    ...(await callOf(step, candidate, { method: 'GET', path: '/health', body: null })),
    timeoutMs: ROLE_TIMEOUT_MS,
  })
  return typeof body === 'object' && body !== null ? patroniRole({ ...body }) : 'unknown'
}

/** Asked at the candidate: the leader's own Patroni is the one that may not answer. */
async function askForFailover(step: StepContext, candidate: Candidate): Promise<Answer> {
  const answer: Answer = { refusal: '', said: '' }
  const body = { candidate: candidate.row.name }
  const call = await callOf(step, candidate, { method: 'POST', path: '/failover', body })
  // It comes when all is over, Patroni looking once a second; we look ourselves meanwhile.
  void askAgent(step, { ...call, timeoutMs: NEW_LEADER_TIMEOUT_MS }).then(
    (result) => Object.assign(answer, readAnswer(result)),
    () => undefined,
  )
  return answer
}

async function callOf(
  step: StepContext,
  { row, host }: Candidate,
  call: { method: 'GET' | 'POST'; path: string; body: unknown },
): Promise<Omit<TaskRequest, 'timeoutMs'>> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  return {
    hostId: host.id,
    operationId: step.operationId,
    action: {
      kind: 'patroni',
      address: host.address,
      port: row.rest_port,
      caPem: secrets.get(SECRET.caCertificate) ?? '',
      user: 'howdah',
      password: secrets.get('rest') ?? '',
      ...call,
    },
  }
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
