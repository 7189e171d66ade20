// Changes the leader when the present one cannot answer. Refuses when acknowledged data could be
// lost, unless told that this is accepted; the loss receipt says afterwards what it was.
import { HowdahError } from '@howdah/core/errors.ts'
import { hostsById, leaderOf, observe, patroniOf } from '../clusters/cluster-view.ts'
import { findCluster, type InstanceRow, listInstances } from '../db/clusters.ts'
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

async function choose(step: StepContext, input: FailoverInput): Promise<string> {
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
  return best.name
}

async function promote(step: StepContext, name: string): Promise<void> {
  const rows = await listInstances(step.database, step.clusterId)
  const row = rows.find((candidate) => candidate.name === name) as InstanceRow
  const hosts = await hostsById(step.database)
  const host = hosts.get(row.host_id) as HostRow
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  // Asked at the candidate: the leader's own Patroni is the one that may not answer.
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
      body: { candidate: name },
    },
  }).catch(() => undefined)
  const topics = rows.map((instance) => `report:${instance.host_id}`)
  await step.until(topics, NEW_LEADER_TIMEOUT_MS, async () => {
    const now = await hostsById(step.database)
    const leader = leaderOf(now, rows)
    const state = patroniOf(now, row)?.state ?? 'is not heard of'
    await step.say(
      leader === undefined ? `no leader yet; ${name} ${state}` : `${leader.name} leads`,
    )
    return leader?.name === name ? true : undefined
  })
}
