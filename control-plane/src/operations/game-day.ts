// Rehearses failures: breaks one thing after the other while a writer keeps count, and reports what
// clients would have noticed. Agents inject and measure; this only says what and when.
import type { GameDayReport, GameDayRound } from '@howdah/core/contract/drills.ts'
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import {
  findProblems,
  type GameDayFault,
  HOST_FAULTS,
  ROUND_MS,
  summarizeGameDay,
} from '@howdah/core/game-day.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { findLeader, runOnLeader, statement } from '../clusters/leader-sql.ts'
import { type GatewayRow, listGateways, listInstances } from '../db/clusters.ts'
import { readReport, storeReport } from '../db/drills.ts'
import { type HostRow, readDcs } from '../db/hosts.ts'
import { readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { askAgent, runTask } from './agent-task.ts'
import { waitReplicas } from './bring-up.ts'
import { refuseUnlessToldTwice } from './game-day-consent.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const FAULT_AFTER_MS = 2000
const FREEZE_MS = 20_000
/** Longer than it is away itself. */
const INJECT_TIMEOUT_MS = FREEZE_MS + 10_000
const HEAL_MS_MAX = 60_000

export interface GameDayInput {
  faults: GameDayFault[]
  rounds: number
  /** That clusters which are not for tests may break, too. */
  toldTwice: boolean
}

export const gameDay: OperationDefinition<GameDayInput> = {
  kind: 'game-day',
  steps: [
    { name: 'prepare', title: 'makes the ledger' },
    { name: 'rounds', title: 'breaks things, one after the other' },
    { name: 'judge', title: 'says whether the cluster held' },
  ],
  async run({ step, input }) {
    await step('prepare', prepareLedger)
    await step('rounds', (context) => playRounds(context, input))
    // A step of its own: trying again what was seen breaks nothing a second time.
    await step('judge', judge)
  },
}

/** One that was interrupted, or is tried again, goes on after the rounds that it has seen. */
async function playRounds(step: StepContext, input: GameDayInput): Promise<void> {
  const { database, clusterId, operationId } = step
  const rounds = [...((await readRounds(step))?.rounds ?? [])]
  if (rounds.length < input.rounds) await waitReplicas(step, undefined, { withoutAway: false })
  while (rounds.length < input.rounds) {
    const fault = input.faults[rounds.length % input.faults.length] as GameDayFault
    // A cluster may have come to these hosts since somebody asked.
    await refuseUnlessToldTwice(database, clusterId, [fault], input.toldTwice)
    rounds.push(await playRound(step, fault, rounds.length))
    await storeReport(database, operationId, summarizeGameDay(rounds))
  }
}

async function readRounds(step: StepContext): Promise<GameDayReport | undefined> {
  return (await readReport(step.database, step.operationId)) as GameDayReport | undefined
}

async function judge(step: StepContext): Promise<void> {
  const report = (await readRounds(step)) ?? summarizeGameDay([])
  const problems = findProblems(report)
  if (problems.length > 0) throw new HowdahError('drill-failed', problems.join('; '))
  const { lost, failed, availability } = report
  await step.say(`${lost} lost, ${failed} failed, ${(availability * 100).toFixed(3)} % available`)
}

async function prepareLedger(step: StepContext): Promise<void> {
  await runOnLeader(step, 'postgres', [
    statement(`create table if not exists howdah.ledger (
      run text not null, number bigint not null, primary key (run, number))`),
    // Of rounds that were interrupted: their writers were not there to remove them.
    statement('delete from howdah.ledger'),
    statement(`grant select, insert, delete on howdah.ledger to ${PLATFORM_ROLES.probe}`),
  ])
}

/** Whose clients are watched: not from a host that is about to break. */
async function chooseGateway(step: StepContext, fault: GameDayFault): Promise<GatewayRow> {
  const gateways = await listGateways(step.database, step.clusterId)
  const leader = await findLeader(step, step.clusterId)
  const elsewhere = gateways.find(({ host_id }) => host_id !== leader?.host.id)
  if (elsewhere !== undefined) return elsewhere
  if (!HOST_FAULTS.includes(fault)) return gateways[0] as GatewayRow
  const said = `every gateway is on ${leader?.host.name}, too: nobody could watch ${fault}`
  throw new HowdahError('wrong-state', said)
}

interface Target {
  hostId: string
  name: string
  action: TaskAction
}

async function playRound(
  step: StepContext,
  fault: GameDayFault,
  number: number,
): Promise<GameDayRound> {
  const gateway = await chooseGateway(step, fault)
  const target = await chooseTarget(step, fault, gateway)
  await step.say(`round ${number + 1}: ${fault} at ${target.name}`)
  const watchedMs = ROUND_MS[fault]
  const ledger = runTask<Omit<GameDayRound, 'fault' | 'target' | 'healed_ms'>>(step, {
    hostId: gateway.host_id,
    operationId: step.operationId,
    timeoutMs: watchedMs + 120_000,
    action: await ledgerAction(step, gateway, `${step.operationId}/${number}`, watchedMs),
  })
  const begun = step.changes.waitUntil([], Date.now() + FAULT_AFTER_MS, async () => undefined)
  // A ledger that ends here has failed: nothing is broken that nobody watches.
  await Promise.race([ledger, begun])
  const refusal = inject(step, target)
  const seen = await ledger
  const refused = await refusal
  if (refused !== undefined) throw new HowdahError('agent-refused', refused)
  const healedFromMs = Date.now()
  const healed = await waitReplicas(step, HEAL_MS_MAX, { withoutAway: false }).then(
    () => Date.now() - healedFromMs,
    () => null,
  )
  await step.say(
    `round ${number + 1}: ${fault}: gap ${seen.longest_gap_ms} ms, ` +
      `${seen.failed} failed, ${seen.lost} lost`,
  )
  return { fault, target: target.name, healed_ms: healed, ...seen }
}

/**
 * Why nothing was broken, or nobody knows whether it was. An agent that breaks itself answers
 * before, or again when it is back.
 */
async function inject(step: StepContext, { hostId, action }: Target): Promise<string | undefined> {
  const { operationId } = step
  const request = { hostId, operationId, timeoutMs: INJECT_TIMEOUT_MS, action }
  const result = await askAgent(step, request).catch((error) => describeError(error))
  if (typeof result === 'string') return result
  return result.ok ? undefined : result.error
}

async function ledgerAction(
  step: StepContext,
  gateway: GatewayRow,
  run: string,
  durationMs: number,
): Promise<TaskAction> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const hosts = await hostsById(step.database)
  const instances = await listInstances(step.database, step.clusterId)
  return {
    kind: 'run-ledger',
    run,
    durationMs,
    user: PLATFORM_ROLES.probe,
    password: secrets.get('probe') ?? '',
    caPem: secrets.get(SECRET.caCertificate) ?? '',
    endpoint: { address: hosts.get(gateway.host_id)?.address ?? '', port: gateway.ports.write },
    instances: instances.map((instance) => ({
      address: hosts.get(instance.host_id)?.address ?? '',
      port: instance.postgres_port,
    })),
  }
}

function faultAction(
  fault: Extract<TaskAction, { kind: 'inject-fault' }>['fault'],
  service: string,
  durationMs = FREEZE_MS,
): TaskAction {
  return { kind: 'inject-fault', fault, service, durationMs }
}

async function chooseTarget(
  step: StepContext,
  fault: GameDayFault,
  gateway: GatewayRow,
): Promise<Target> {
  const leader = await findLeader(step, step.clusterId)
  if (leader === undefined) throw new HowdahError('wrong-state', 'no instance leads now')
  const { instance, host } = leader
  const patroni = `patroni-${instance.id}`
  const at = (hostId: string, name: string, action: TaskAction) => ({ hostId, name, action })
  switch (fault) {
    case 'leader-process':
      return at(host.id, instance.name, faultAction('kill-postmaster', patroni))
    case 'leader-frozen':
      return at(host.id, instance.name, faultAction('freeze-postmaster', patroni))
    case 'leader-host':
      return at(host.id, host.name, faultAction('stop-host', patroni))
    case 'leader-host-silent':
      return at(host.id, host.name, faultAction('silence-host', patroni))
    case 'network-cut':
      return at(host.id, host.name, faultAction('cut-network', patroni))
    case 'patroni':
      return at(host.id, instance.name, faultAction('kill-service', patroni))
    case 'agent':
      return at(host.id, `the agent of ${host.name}`, faultAction('kill-agent', ''))
    case 'dcs-member': {
      const member = (await readDcs(step.database)).members[0]
      const away = (await hostsById(step.database)).get(member?.host_id ?? '') as HostRow
      return at(away.id, member?.name ?? '', faultAction('kill-service', 'etcd'))
    }
    case 'haproxy':
      return at(gateway.host_id, gateway.name, faultAction('kill-service', `haproxy-${gateway.id}`))
    case 'pgbouncer': {
      const service = `pgbouncer-write-${gateway.id}`
      return at(gateway.host_id, gateway.name, faultAction('kill-service', service))
    }
  }
}
