// Owns the restart of a cluster's instances one after the other, without a failed transaction
// through the pooled endpoints: a replica is drained before it restarts, and the leader hands over
// before it does.
import { HowdahError } from '@howdah/core/errors.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import { askReign } from '../clusters/leader-sql.ts'
import { type InstanceRow, listGateways, listInstances } from '../db/clusters.ts'
import { readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { runTask } from './agent-task.ts'
import { waitReplicas } from './bring-up.ts'
import {
  drain,
  handOver,
  holdGateways,
  preflight,
  releaseGateways,
  reportHandOver,
  sayHandOver,
} from './hand-over.ts'
import {
  type OperationContext,
  type StepContext,
  type StepPlan,
  unlessPaused,
} from './operation.ts'
import { shortenShutdown } from './shorten-shutdown.ts'

const RESTART_TIMEOUT_MS = 120_000
const START_TIMEOUT_SECONDS = 60
/** Each further one takes a failover at the very moment. */
const ATTEMPTS_MAX = 3

export const ROLLING_RESTART_STEPS: readonly StepPlan[] = [
  { name: 'restart-replicas', title: 'restarts the replicas, one after the other' },
  { name: 'hand-over', title: 'holds the clients and changes the leader' },
  { name: 'restart-former-leader', title: 'restarts the former leader' },
  { name: 'check-limits', title: 'looks whether anything still waits for a restart' },
].map(unlessPaused)

/** Which instances: all, those that wait for a restart, or one. */
export type RestartScope = { kind: 'all' } | { kind: 'pending' } | { kind: 'one'; name: string }

interface RestartPlan {
  replicas: string[]
  /** The leader, when it is among them. */
  leader: string | null
}

export async function rollingRestart<Input>(
  { step }: Pick<OperationContext<Input>, 'step'>,
  scope: RestartScope,
): Promise<void> {
  const plan = await step('restart-replicas', async (context) => {
    const planned = await planRestart(context, scope)
    for (const name of planned.replicas) await restartReplica(context, name)
    return planned
  })
  const handed = await step('hand-over', async (context) => {
    if (plan.leader === null) return false
    if ((await instancesOf(context)).length === 1) return false
    await handOverIfLeading(context, plan.leader)
    return true
  })
  await step('restart-former-leader', async (context) => {
    if (plan.leader === null) return
    if (handed) await restartReplica(context, plan.leader)
    else await restartAlone(context, plan.leader)
  })
  await step('check-limits', sayWhatWaits)
}

/**
 * A replica must not have lower limits (max_connections and its like) than its leader, so Patroni
 * keeps the old ones on it until the leader itself has restarted with the new. One after the other
 * with hand-overs, no leader ever does: such a limit stays as it was, and that is said.
 */
async function sayWhatWaits(step: StepContext): Promise<void> {
  const hosts = await hostsById(step.database)
  const rows = await instancesOf(step)
  const waiting = rows.filter((row) => patroniOf(hosts, row)?.pendingRestart === true)
  if (waiting.length === 0) return step.say('nothing waits for a restart')
  const names = waiting.map((row) => row.name).join(', ')
  await step.say(
    `a limit that became lower stays as it was on ${names}: only a restart in place changes it`,
  )
}

async function instancesOf({ database, clusterId }: StepContext): Promise<InstanceRow[]> {
  return listInstances(database, clusterId)
}

async function planRestart(step: StepContext, scope: RestartScope): Promise<RestartPlan> {
  const hosts = await hostsById(step.database)
  const instances = await instancesOf(step)
  const leader = leaderOf(hosts, instances)
  const wanted = instances.filter((instance) => {
    if (scope.kind === 'one') return instance.name === scope.name
    return scope.kind === 'all' || patroniOf(hosts, instance)?.pendingRestart === true
  })
  if (scope.kind === 'one' && wanted.length === 0) {
    throw new HowdahError('not-found', `there is no instance ${scope.name}`)
  }
  return {
    replicas: wanted.filter((row) => row.id !== leader?.id).map((row) => row.name),
    leader: wanted.some((row) => row.id === leader?.id) ? (leader?.name ?? null) : null,
  }
}

/** Also one that was a replica when the restart was planned: a failover may have come since. */
async function handOverIfLeading(step: StepContext, name: string): Promise<void> {
  if ((await askReign(step)).leader !== name) return
  await waitAll(step)
  const { candidate } = await preflight(step, undefined)
  await sayHandOver(step, await handOver(step, name, candidate.name))
}

/** Those on hosts that are away, too: with fewer, each restart is one more that is missing. */
async function waitAll(step: StepContext): Promise<void> {
  await waitReplicas(step, undefined, { withoutAway: false })
}

/**
 * Drained at every gateway first; put back by the gateways themselves if this dies half-way. A
 * failover may have it lead before it restarts: then it is told so, and hands over first.
 */
async function restartReplica(step: StepContext, name: string): Promise<void> {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    await waitAll(step)
    await handOverIfLeading(step, name)
    await step.say(`restarts ${name}`)
    await drain(step, name, true)
    try {
      if ((await restartInstance(step, name, { role: 'replica' })) === 'restarted') {
        return await waitAll(step)
      }
    } finally {
      await drain(step, name, false)
    }
  }
  throw new HowdahError('wrong-state', `${name} was no replica whenever it was to restart`)
}

/** A cluster of one: its clients wait for as long as the restart takes. */
async function restartAlone(step: StepContext, name: string): Promise<void> {
  const gateways = await listGateways(step.database, step.clusterId)
  await shortenShutdown(step)
  await step.say(`restarts ${name}`)
  try {
    await holdGateways(step, gateways, `${name} was not restarted`)
    await restartInstance(step, name, {})
  } catch (error) {
    await releaseGateways(step, gateways)
    throw error
  }
  const released = await releaseGateways(step, gateways)
  // Readers have nobody else to go to, and are not held.
  await sayHandOver(step, reportHandOver({ from: name, to: name, readersLeft: null }, released))
}

async function restartInstance(
  step: StepContext,
  name: string,
  condition: { role?: 'replica' },
): Promise<RestartEnd> {
  const instance = (await instancesOf(step)).find((row) => row.name === name)
  const hosts = await hostsById(step.database)
  const host = instance === undefined ? undefined : hosts.get(instance.host_id)
  if (instance === undefined || host === undefined) {
    throw new HowdahError('not-found', `there is no instance ${name}`)
  }
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const result = await runTask<{ status: number; body: unknown }>(step, {
    hostId: host.id,
    operationId: step.operationId,
    timeoutMs: RESTART_TIMEOUT_MS,
    action: {
      kind: 'patroni',
      address: host.address,
      port: instance.rest_port,
      caPem: secrets.get(SECRET.caCertificate) ?? '',
      user: 'howdah',
      password: secrets.get('rest') ?? '',
      method: 'POST',
      path: '/restart',
      // Without one Patroni answers for a leader at once that it is "still in progress".
      body: { timeout: START_TIMEOUT_SECONDS, ...condition },
    },
  })
  return endOfRestart(name, result)
}

type RestartEnd = 'restarted' | 'unmet'

/** `unmet`: it is not what the condition says, and nothing was done. Throws where it failed. */
export function endOfRestart(
  name: string,
  { status, body }: { status: number; body: unknown },
): RestartEnd {
  if (status === 200) return 'restarted'
  const text = JSON.stringify(body)
  if (status === 503 && /conditions are not satisfied/i.test(text)) return 'unmet'
  throw new HowdahError('agent-refused', `Patroni of ${name} answered ${status}: ${text}`)
}
