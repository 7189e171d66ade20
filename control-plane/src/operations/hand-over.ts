// Owns the planned change of leader, shared by switchover, rolling restart and scaling: preflight,
// have Patroni begin, hold the clients when it asks, let it go, see the new leader write, let them
// go. The agents at the
// gateways let go by themselves when the new leader writes, or when time is up: a control plane
// that dies here holds nobody.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import type { PatroniAccess, PatroniStatus, TaskAction, TaskResult } from '@howdah/core/protocol.ts'
import { CANDIDATE_LAG_BYTES_MAX, hostsById, leaderOf, observe } from '../clusters/cluster-view.ts'
import { findLeader, type Leader, type Statement, statement } from '../clusters/leader-sql.ts'
import { findCluster, type GatewayRow, listGateways, listInstances } from '../db/clusters.ts'
import { readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { askAgent, runTask } from './agent-task.ts'
import type { StepContext } from './operation.ts'
import { shortenShutdown } from './shorten-shutdown.ts'

/** A transaction older than this would outlast the hold: it is named, and nothing is changed. */
export const TRANSACTION_MS_MAX = 2000
const PAUSE_TIMEOUT_MS = 2000
const HOLD_MS_MAX = 15_000
const DRAIN_WAIT_MS = 5000
const DRAIN_MS_MAX = 120_000
const NEW_LEADER_TIMEOUT_MS = 30_000

export interface HandOverReport {
  from: string
  /** The same: it was restarted in place. */
  to: string
  /** Transactions that waited to begin when they were let go, over all gateways. */
  held_transactions: number
  /** The longest that one of them waited. */
  stall_ms: number
  /** No transaction of a pooled endpoint failed for it. False: not known. */
  none_failed: boolean
  gateways: {
    name: string
    held_ms: number
    transactions: number
    released_by: string
    unbroken: boolean
  }[]
  /** Gateways that were not asked, or did not answer, and why. */
  left_out: { name: string; reason: string }[]
  /**
   * Sessions of the read endpoints that the leader still had; null: whoever knew it died, or it
   * was restarted in place.
   */
  readers_left: number | null
}

/** What an agent returns of a hold; one of a version before this says less. */
export interface HoldReport {
  held: boolean
  reason: string
  heldMs: number
  clients: number
  waitedMsMax: number
  releasedBy: string
  /**
   * From the end of the last transaction on nobody was let go before the new leader wrote.
   */
  unbroken?: boolean
}

export interface Candidate {
  name: string
  patroni: PatroniStatus
}

class LeadsAlready extends HowdahError {}

const PASSING = new Set(['wrong-state', 'task-lost', 'database-refused'])

/** Whether what is in the way of a change may be gone after a while. */
export function mayPass(error: unknown): error is HowdahError {
  return error instanceof HowdahError && PASSING.has(error.code) && !(error instanceof LeadsAlready)
}

/** The leader and the replica that shall lead next. Throws `wrong-state` with what is missing. */
export async function preflight(
  step: Pick<StepContext, 'database' | 'clusterId'>,
  wanted: string | undefined,
): Promise<{ leader: Leader; candidate: Candidate }> {
  const cluster = await findCluster(step.database, step.clusterId)
  const leader = await findLeader(step, step.clusterId)
  if (cluster === undefined || leader === undefined) {
    throw new HowdahError('wrong-state', 'no instance leads now: use failover')
  }
  const hosts = await hostsById(step.database)
  const observed = observe(hosts, await listInstances(step.database, step.clusterId))
  if (wanted !== undefined && !observed.some(({ name }) => name === wanted)) {
    throw new HowdahError('not-found', `there is no instance ${wanted}`)
  }
  if (wanted === leader.instance.name) {
    throw new LeadsAlready('wrong-state', `${wanted} leads already`)
  }
  const leaderPosition = observed.find(({ name }) => name === leader.instance.name)?.patroni
  const replicas = observed
    .filter(({ name }) => name !== leader.instance.name)
    .filter(({ name }) => wanted === undefined || name === wanted)
  const reasons = replicas.map(({ name, patroni }) => ({
    name,
    patroni,
    reason: unfitReason(patroni, leaderPosition, cluster.spec.durability !== 'async'),
  }))
  const fit = reasons.find(({ reason }) => reason === '')
  if (fit?.patroni === undefined) {
    const said = reasons.map(({ name, reason }) => `${name} ${reason}`).join('; ')
    throw new HowdahError('wrong-state', said === '' ? 'there is no replica' : said)
  }
  return { leader, candidate: { name: fit.name, patroni: fit.patroni } }
}

function unfitReason(
  patroni: PatroniStatus | undefined,
  leader: PatroniStatus | undefined,
  synchronous: boolean,
): string {
  if (patroni === undefined) return 'is not heard of'
  if (!patroni.streaming) return `does not stream (${patroni.state})`
  if (synchronous && patroni.role !== 'sync-replica') return 'is not the synchronous replica'
  const lag = BigInt(leader?.walPosition ?? '0') - BigInt(patroni.walPosition ?? '0')
  return lag > CANDIDATE_LAG_BYTES_MAX ? `lags by ${lag} bytes` : ''
}

const OLDEST_TRANSACTION = statement(
  `select pid, usename as role,
     to_char(xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since
   from pg_stat_activity
   where backend_type = 'client backend' and pid <> pg_backend_pid()
     and xact_start < now() - make_interval(secs => $1)
   order by xact_start limit 1`,
  [TRANSACTION_MS_MAX / 1000],
)

/**
 * Throws `wrong-state` naming the oldest transaction when one is older than a hold can wait for.
 */
export async function refuseLongTransactions(
  ask: (asked: Statement) => Promise<{ pid: number; role: string; since: string }[]>,
): Promise<void> {
  const [oldest] = await ask(OLDEST_TRANSACTION)
  if (oldest === undefined) return
  const said = `a transaction of ${oldest.role} (pid ${oldest.pid}) runs since ${oldest.since}`
  throw new HowdahError('wrong-state', `${said}: nothing was changed`)
}

/** Gateways that could not hold their clients now, and why. */
export async function leftOut({
  database,
  clusterId,
}: Pick<StepContext, 'database' | 'clusterId'>): Promise<HandOverReport['left_out']> {
  const gateways = await listGateways(database, clusterId)
  return notHeardOf(gateways, await heardOf({ database }, gateways))
}

/**
 * The change itself. A step that runs again after a crash finds either the old leader, and does it
 * all again, or the new one, and only reports. Any failure lets the clients go first.
 */
export async function handOver(
  step: StepContext,
  from: string,
  to: string,
): Promise<HandOverReport> {
  const gateways = await listGateways(step.database, step.clusterId)
  const leader = await awaitLeader(step)
  let readersLeft: number | null = null
  try {
    if (leader.instance.name === from) {
      // Readers that came to the leader while no replica was there would die with its shutdown.
      readersLeft = await drain(step, from, true)
      await shortenShutdown(step)
      await switchLeader(step, leader, to, await heardOf(step, gateways))
    }
  } catch (error) {
    await releaseGateways(step, gateways)
    throw error
  } finally {
    // Also where a run of this step died after the change: gateways would only in two minutes.
    await drain(step, from, false)
  }
  const released = await releaseGateways(step, gateways)
  if (![from, to].includes(leader.instance.name)) {
    const said = `${leader.instance.name} leads by now, not ${to}: somebody else changed the leader`
    throw new HowdahError('wrong-state', said)
  }
  return reportHandOver({ from, to, readersLeft }, released)
}

/** Pure. */
export function reportHandOver(
  { from, to, readersLeft }: { from: string; to: string; readersLeft: number | null },
  { released, silent }: ReturnType<typeof sortReleases>,
): HandOverReport {
  // Where nobody else comes to lead, they are let go when it has restarted.
  const isUnbroken = (report: HoldReport) =>
    report.unbroken === true || (from === to && report.releasedBy === 'asked')
  const unbroken = released.every(({ report }) => isUnbroken(report))
  return {
    from,
    to,
    held_transactions: released.reduce((sum, { report }) => sum + report.clients, 0),
    stall_ms: Math.max(0, ...released.map(({ report }) => report.waitedMsMax)),
    none_failed: unbroken && silent.length === 0 && readersLeft === 0,
    gateways: released.map(({ name, report }) => ({
      name,
      held_ms: report.heldMs,
      transactions: report.clients,
      released_by: report.releasedBy,
      unbroken: isUnbroken(report),
    })),
    left_out: silent,
    readers_left: readersLeft,
  }
}

/**
 * For people: who leads, how long transactions waited, and that none failed, or which ones may
 * have.
 */
export function describeHandOver(report: HandOverReport): string {
  const { from, to, held_transactions: held, stall_ms: stallMs, readers_left: readers } = report
  const inPlace = from === to
  const done = inPlace ? `${to} has restarted` : `${to} leads`
  const said = `${done}; ${held} transactions were held, ${stallMs} ms at most`
  if (report.none_failed) return `${said}, and none failed`
  const doubts = [
    ...report.gateways.filter(({ unbroken }) => !unbroken).map((gateway) => doubtOf(gateway, to)),
    ...report.left_out.map(({ name, reason }) => `without ${name}: ${reason}`),
    ...(inPlace ? ['readers had nobody else to go to'] : []),
    ...(readers === null && !inPlace ? ['the control plane was away meanwhile'] : []),
    ...(readers === null || readers === 0 ? [] : [`${readers} readers were left on ${from}`]),
  ]
  return `${said}; some may have failed: ${doubts.join('; ')}`
}

function doubtOf(gateway: HandOverReport['gateways'][number], to: string): string {
  const { name, held_ms: heldMs, released_by: by } = gateway
  if (by === 'timeout') return `${name} let its clients go after ${heldMs} ms, before ${to} wrote`
  if (by === 'asked') return `${name} let its clients go without having seen ${to} write`
  return `${name} does not say that it held all of them until ${to} wrote`
}

/** Tells people the sentence, and programs the numbers, as data of the event. */
export async function sayHandOver(step: StepContext, report: HandOverReport): Promise<void> {
  await step.say(describeHandOver(report), { hand_over: report })
}

/** A step that runs again may do so between two leaders. */
async function awaitLeader(step: StepContext): Promise<Leader> {
  const instances = await listInstances(step.database, step.clusterId)
  const topics = instances.map((instance) => `report:${instance.host_id}`)
  return step.until(topics, NEW_LEADER_TIMEOUT_MS, async () => {
    const leader = await findLeader(step, step.clusterId)
    if (leader === undefined) await step.say('no instance leads now')
    return leader
  })
}

/** One whose host is away cannot be asked, and must not keep anybody from a change. */
async function heardOf(
  { database }: Pick<StepContext, 'database'>,
  gateways: readonly GatewayRow[],
): Promise<GatewayRow[]> {
  const hosts = await hostsById(database)
  return gateways.filter(({ host_id }) => hosts.get(host_id)?.online === true)
}

function notHeardOf(gateways: readonly GatewayRow[], heard: readonly GatewayRow[]) {
  const away = gateways.filter(({ id }) => !heard.some((one) => one.id === id))
  return away.map(({ name }) => ({ name, reason: 'its host is not heard of' }))
}

/**
 * Throws when one of them, but for those that are away, does not hold its clients; `then` says what
 * that means.
 */
export async function holdGateways(
  step: StepContext,
  gateways: readonly GatewayRow[],
  then: string,
): Promise<void> {
  await holdThese(step, await heardOf(step, gateways), then)
}

async function holdThese(
  step: StepContext,
  asked: readonly GatewayRow[],
  then: string,
): Promise<void> {
  // All of them, whatever one says: a hold that comes after its release would not be ended.
  const results = await Promise.allSettled(
    asked.map((gateway) =>
      runTask<HoldReport>(step, {
        hostId: gateway.host_id,
        operationId: step.operationId,
        timeoutMs: PAUSE_TIMEOUT_MS + 3000,
        action: {
          kind: 'gateway-hold',
          gatewayId: gateway.id,
          pauseTimeoutMs: PAUSE_TIMEOUT_MS,
          holdMsMax: HOLD_MS_MAX,
          operationId: step.operationId,
        },
      }),
    ),
  )
  throwUnlessHeld(results, then)
}

/** What a gateway says counts more than that another one said nothing. */
export function throwUnlessHeld(
  results: readonly PromiseSettledResult<HoldReport>[],
  then: string,
): void {
  for (const result of results) {
    if (result.status === 'rejected' || result.value.held) continue
    throw new HowdahError('wrong-state', `${result.value.reason}: ${then}`)
  }
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/**
 * Never throws, so that it hides no reason: one that does not answer lets its clients go by itself.
 */
export async function releaseGateways(step: StepContext, gateways: readonly GatewayRow[]) {
  const asked = await heardOf(step, gateways)
  const results = await Promise.allSettled(
    asked.map((gateway) =>
      runTask<HoldReport>(step, {
        hostId: gateway.host_id,
        operationId: step.operationId,
        // Until somebody leads, or the hold is over.
        timeoutMs: HOLD_MS_MAX + 3000,
        action: {
          kind: 'gateway-release',
          gatewayId: gateway.id,
          operationId: step.operationId,
        },
      }),
    ),
  )
  const { released, silent } = sortReleases(
    asked.map(({ name }) => name),
    results,
  )
  return { released, silent: [...notHeardOf(gateways, asked), ...silent] }
}

/** `results` are those of `names`, in their order. */
export function sortReleases(
  names: readonly string[],
  results: readonly PromiseSettledResult<HoldReport>[],
) {
  const released: { name: string; report: HoldReport }[] = []
  const silent: { name: string; reason: string }[] = []
  for (const [index, result] of results.entries()) {
    const name = names[index] ?? ''
    if (result.status === 'rejected') silent.push({ name, reason: describeError(result.reason) })
    else if (!result.value.held) silent.push({ name, reason: result.value.reason })
    else released.push({ name, report: result.value })
  }
  return { released, silent }
}

/**
 * Readers leave the instance at every gateway that is not away, or may come back to it. Coming back
 * never fails: gateways see to it by themselves, and it must hide no reason. Returns how many
 * sessions are left on it.
 */
export async function drain(step: StepContext, name: string, draining: boolean): Promise<number> {
  const gateways = await heardOf(step, await listGateways(step.database, step.clusterId))
  const results = await Promise.allSettled(
    gateways.map((gateway) =>
      runTask<{ sessions: number }>(step, {
        hostId: gateway.host_id,
        operationId: step.operationId,
        timeoutMs: DRAIN_WAIT_MS + 5000,
        action: {
          kind: 'gateway-drain',
          gatewayId: gateway.id,
          instance: name,
          drain: draining,
          waitMs: draining ? DRAIN_WAIT_MS : 0,
          drainMsMax: DRAIN_MS_MAX,
        },
      }),
    ),
  )
  const failed = results.find((result) => result.status === 'rejected')
  if (draining && failed !== undefined) throw failed.reason
  return results.reduce(
    (sum, result) => sum + (result.status === 'fulfilled' ? result.value.sessions : 0),
    0,
  )
}

/** Its Patroni knows of another leader: what we had heard is from before this step began again. */
const IS_OUTDATED = /leader name does not match/i

/**
 * Why Patroni did not change the leader; undefined: it did, or does not know. 503 stands for both
 * "failed" and "status unknown", which it says when agents had taken the key themselves, too. One
 * that was done before a crash of ours is refused as outdated: reports will tell who leads.
 */
export function refusalOf({ status, body }: { status: number; body: unknown }): string | undefined {
  const text = JSON.stringify(body)
  const isKnown = status >= 400 && (status !== 503 || /failed/i.test(text))
  if (!isKnown || (status === 412 && IS_OUTDATED.test(text))) return undefined
  return `Patroni answered ${status}: ${text}`
}

/** What `begin-switchover` returns; see agent/src/tasks/switch-over.ts. */
type Begun = { begun: 'asks' | 'asks-nobody' } | { begun: 'refused'; status: number; body: unknown }

/**
 * Clients are held as late as can be: when Patroni has done its checks and asks whether it may go.
 * Agents and Patronis that were started by a version before this do not: then they are held first.
 * Undefined: the leader is another one by now.
 */
async function letPatroniGo(
  step: StepContext,
  leader: Leader,
  to: string,
  gateways: readonly GatewayRow[],
): Promise<TaskAction | undefined> {
  const hold = () => holdThese(step, gateways, `${leader.instance.name} stays the leader`)
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const patroni: PatroniAccess = {
    address: leader.host.address,
    port: leader.instance.rest_port,
    caPem: secrets.get(SECRET.caCertificate) ?? '',
    user: 'howdah',
    password: secrets.get('rest') ?? '',
  }
  const instance = leader.instance.name
  const request = { hostId: leader.host.id, operationId: step.operationId }
  const begin = {
    kind: 'begin-switchover' as const,
    clusterId: step.clusterId,
    gateways: gateways.map(({ id }) => id),
    patroni,
    instance,
    candidate: to,
  }
  const begun: Begun =
    leader.host.facts?.beginsSwitchovers === true
      ? await runTask(step, { ...request, timeoutMs: NEW_LEADER_TIMEOUT_MS, action: begin })
      : { begun: 'asks-nobody' }
  if (begun.begun === 'asks-nobody') {
    await hold()
    const body = { leader: instance, candidate: to }
    return { kind: 'patroni', ...patroni, method: 'POST', path: '/switchover', body }
  }
  if (begun.begun === 'refused') {
    const refusal = refusalOf(begun)
    if (refusal !== undefined) throw new HowdahError('agent-refused', refusal)
    return undefined
  }
  step.faults.at('switch-leader/asked')
  try {
    await hold()
  } catch (error) {
    // It stays by itself, too, when this does not reach it.
    const action = { kind: 'end-switchover', instance, goes: false } as const
    await askAgent(step, { ...request, timeoutMs: PAUSE_TIMEOUT_MS, action }).catch(() => undefined)
    throw error
  }
  step.faults.at('switch-leader/held')
  return { kind: 'end-switchover', instance, goes: true }
}

async function switchLeader(
  step: StepContext,
  leader: Leader,
  to: string,
  gateways: readonly GatewayRow[],
): Promise<void> {
  const action = await letPatroniGo(step, leader, to, gateways)
  // Patroni answers when it is over, looking once a second; we look ourselves meanwhile.
  let refusal: string | undefined
  const learn = (result: TaskResult) => {
    const value = result.value as { status: number; body: unknown } | undefined
    if (result.errorCode === 'refused') refusal = result.error
    if (result.ok && value !== undefined) refusal = refusalOf(value)
  }
  if (action !== undefined) {
    const hostId = leader.host.id
    const request = { hostId, operationId: step.operationId, timeoutMs: NEW_LEADER_TIMEOUT_MS }
    void askAgent(step, { ...request, action }).then(learn, () => undefined)
  }
  const instances = await listInstances(step.database, step.clusterId)
  const topics = instances.map((instance) => `report:${instance.host_id}`)
  await step.until(topics, NEW_LEADER_TIMEOUT_MS, async () => {
    const refused = refusal
    const now = leaderOf(await hostsById(step.database), instances)
    await step.say(now === undefined ? 'between leaders' : `${now.name} leads`)
    if (now?.name === to) return true
    // Seen after it was refused; between leaders it may come about all the same.
    if (refused !== undefined && now !== undefined) throw new HowdahError('agent-refused', refused)
    return undefined
  })
}
