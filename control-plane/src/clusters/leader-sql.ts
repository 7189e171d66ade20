// Owns SQL on a cluster's leader: an agent runs it over the unix socket, so no password and no port
// of the platform is involved. The leader may move at any moment; the agent refuses when it is not
// one any more.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { TaskAction, TaskResult } from '@howdah/core/protocol.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { type ClusterRow, type InstanceRow, listInstances } from '../db/clusters.ts'
import type { HostRow } from '../db/hosts.ts'
import { askAgent } from '../operations/agent-task.ts'
import type { Platform, StepContext } from '../operations/operation.ts'
import { hostsById, leaderOf } from './cluster-view.ts'

const QUERY_TIMEOUT_MS = 5000
const STATEMENT_TIMEOUT_MS = 60_000
/**
 * A leader that moves while we ask: long enough for a failover, and for a host so short of CPU that
 * its leader fences itself and has to start again.
 */
const LEADER_TIMEOUT_MS = 120_000

export interface Statement {
  text: string
  params: (string | number | boolean | null)[]
}

export interface Leader {
  instance: InstanceRow
  host: HostRow
}

type LeaderAccess = Pick<Platform, 'database' | 'sealer' | 'changes'>

export async function findLeader(
  platform: Pick<Platform, 'database'>,
  clusterId: string,
): Promise<Leader | undefined> {
  const hosts = await hostsById(platform.database)
  const instance = leaderOf(hosts, await listInstances(platform.database, clusterId))
  const host = instance === undefined ? undefined : hosts.get(instance.host_id)
  return instance === undefined || host === undefined ? undefined : { instance, host }
}

export function superuserConnection(leader: Leader, database: string) {
  return {
    host: `${leader.host.facts?.root ?? ''}/${HOST_LAYOUT.run}`,
    port: leader.instance.postgres_port,
    user: PLATFORM_ROLES.superuser,
    database,
  }
}

function sqlAction(leader: Leader, database: string, statements: Statement[]): TaskAction {
  const connection = superuserConnection(leader, database)
  return { kind: 'sql', connection, requireLeader: true, statements }
}

/** Reads for a request: one try, and `cluster-unreachable` when there is no leader or no answer. */
export async function queryLeader<Row>(
  platform: LeaderAccess,
  cluster: Pick<ClusterRow, 'id' | 'name'>,
  statement: Statement,
): Promise<Row[]> {
  const leader = await findLeader(platform, cluster.id)
  if (leader === undefined) {
    throw new HowdahError('cluster-unreachable', `cluster ${cluster.name} has no leader now`)
  }
  const action = sqlAction(leader, 'postgres', [statement])
  const result = await askAgent(platform, {
    hostId: leader.host.id,
    timeoutMs: QUERY_TIMEOUT_MS,
    action,
  }).catch((cause) => {
    throw new HowdahError('cluster-unreachable', 'its agent did not answer in time', { cause })
  })
  if (!result.ok) throw new HowdahError('cluster-unreachable', result.error)
  return rowsOf<Row>(result, 0)
}

function rowsOf<Row>(result: TaskResult, index: number): Row[] {
  const value = result.value as { rows: unknown }[]
  return (value[index]?.rows ?? []) as Row[]
}

/** SQLSTATEs and codes that say "not now", not "no". */
const TRY_AGAIN = new Set(['not-leader', 'unreachable', '57P01', '57P03', '25006', '08006'])

/**
 * Runs statements on the leader within a step, wherever it is; a leader that is gone is waited for.
 * SQLSTATEs in `tolerate` mean that the work was done before. Returns the rows of the last
 * statement.
 */
export async function runOnLeader<Row = Record<string, unknown>>(
  step: StepContext,
  database: string,
  statements: Statement[],
  tolerate: readonly string[] = [],
): Promise<Row[]> {
  return step.until([], LEADER_TIMEOUT_MS, async () => {
    const leader = await findLeader(step, step.clusterId)
    if (leader === undefined) {
      await step.say('waits for a leader')
      return undefined
    }
    const action = sqlAction(leader, database, statements)
    const result = await askAgent(step, {
      hostId: leader.host.id,
      operationId: step.operationId,
      timeoutMs: STATEMENT_TIMEOUT_MS,
      action,
    })
    if (result.ok) return rowsOf<Row>(result, statements.length - 1)
    if (tolerate.includes(result.errorCode)) return []
    if (TRY_AGAIN.has(result.errorCode)) {
      await step.say(result.error)
      return undefined
    }
    throw new HowdahError('database-refused', result.error)
  })
}

export interface Reign {
  leader: string
  timeline: string
  /** Names of the replicas that stream from it. */
  streaming: string[]
}

const REIGN = `select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as timeline,
  (select string_agg(application_name, ',') from pg_stat_replication
   where state = 'streaming') as streaming`

/**
 * Who leads, as the leader itself says now. Reports cannot tell: a host that has just died has one
 * of up to 30 s ago, in which it leads.
 */
export async function askReign(step: StepContext): Promise<Reign> {
  return step.until([], LEADER_TIMEOUT_MS, async () => {
    const leader = await findLeader(step, step.clusterId)
    if (leader === undefined) {
      await step.say('waits for a leader')
      return undefined
    }
    const { name } = leader.instance
    const result = await askAgent(step, {
      hostId: leader.host.id,
      operationId: step.operationId,
      timeoutMs: QUERY_TIMEOUT_MS,
      action: sqlAction(leader, 'postgres', [statement(REIGN)]),
    }).catch((error: unknown) => ({ ok: false as const, error: describeError(error) }))
    if (!result.ok) {
      await step.say(`${name} does not answer as the leader: ${result.error}`)
      return undefined
    }
    const [row] = rowsOf<{ timeline: string; streaming: string | null }>(result, 0)
    if (row === undefined) throw new Error('BUG: a select without from has one row')
    const streaming = row.streaming?.split(',') ?? []
    return { leader: name, timeline: row.timeline, streaming }
  })
}

export function statement(text: string, params: Statement['params'] = []): Statement {
  return { text, params }
}

/** All or nothing, and one wait for the disk instead of one for each. */
export function inOneTransaction(statements: readonly Statement[]): Statement[] {
  return [statement('begin'), ...statements, statement('commit')]
}
