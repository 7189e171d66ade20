// Owns the actions on a running cluster: POST /v1/clusters/{cluster}/<action>, each an operation.
import {
  Failover,
  FailoverRequest,
  OperationAccepted,
  Restart,
  Scale,
  Switchover,
  SwitchoverPlan,
} from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { summarizeFailovers } from '@howdah/core/failovers.ts'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { hostsById, leaderOf, refuseInMaintenance } from '../clusters/cluster-view.ts'
import { queryLeader } from '../clusters/leader-sql.ts'
import type { Queryable } from '../database.ts'
import {
  type ClusterRow,
  listInstances,
  lockCluster,
  setClusterState,
  updateClusterSpec,
} from '../db/clusters.ts'
import { listGuardEvents } from '../db/guard-events.ts'
import { failover } from '../operations/failover.ts'
import { leftOut, mayPass, preflight, refuseLongTransactions } from '../operations/hand-over.ts'
import { restartCluster } from '../operations/restart-cluster.ts'
import type { RestartScope } from '../operations/rolling-restart.ts'
import { scaleCluster } from '../operations/scale-cluster.ts'
import { switchover } from '../operations/switchover.ts'
import { updateCluster } from '../operations/update-cluster.ts'
import type { Api } from './app.ts'
import { requireAvailable } from './cluster-contents.ts'
import { requireCluster, startOperation } from './clusters.ts'
import { type Answer, mutate } from './mutation.ts'

const AHEAD_MS_MAX = 30 * 86_400_000
const GUARD_EVENTS_MAX = 1000
const Params = Type.Object({ cluster: ResourceRef })
const tags = ['clusters']

export function registerClusterActions(api: Api): void {
  registerSwitchover(api)
  registerFailover(api)
  registerRestart(api)
  registerScale(api)
  registerMaintenance(api)
}

function accepted(started: { operation: unknown; headers: Record<string, string> }): Answer {
  return { status: 202, headers: started.headers, body: { operation: started.operation } }
}

function parseStart(at: string | undefined): string | null {
  if (at === undefined) return null
  const ahead = Date.parse(at) - Date.now()
  if (ahead > AHEAD_MS_MAX) throw new HowdahError('bad-request', 'at: at most 30 days ahead')
  return new Date(at).toISOString()
}

function registerSwitchover({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/switchover',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change the leader; clients of the pooled endpoints wait and none fails',
        params: Params,
        body: Switchover,
        response: { 200: SwitchoverPlan, 202: OperationAccepted },
      },
    },
    async (request, reply) => {
      if (request.body.dry_run === true) {
        return reply.send(await planSwitchover(platform, request.params.cluster, request.body.to))
      }
      return mutate(platform, request, reply, (tx) =>
        startSwitchover(platform, tx, request, request.params.cluster, request.body),
      )
    },
  )
}

/** Asks what the operation would ask, and throws what it would end with. */
async function planSwitchover(
  platform: Api['platform'],
  reference: string,
  to: string | undefined,
): Promise<SwitchoverPlan> {
  const cluster = await requireAvailable(platform.database, reference)
  refuseInMaintenance(cluster)
  const where = { database: platform.database, clusterId: cluster.id }
  const { leader, candidate } = await preflight(where, to)
  await refuseLongTransactions((asked) => queryLeader(platform, cluster, asked))
  return {
    from: leader.instance.name,
    to: candidate.name,
    left_out: await leftOut(where),
  }
}

async function startSwitchover(
  platform: Api['platform'],
  tx: Queryable,
  request: FastifyRequest,
  reference: string,
  { to, at, within_seconds: seconds }: Static<typeof Switchover>,
): Promise<Answer> {
  const cluster = await requireAvailable(tx, reference)
  refuseInMaintenance(cluster)
  await requireInstances(tx, cluster, to === undefined ? [] : [to])
  const start = parseStart(at)
  // Until then a replica may have caught up, or another one be the fittest.
  const next =
    start === null ? await chooseNext(platform, tx, cluster, to, seconds !== undefined) : to
  const fromMs = start === null ? Date.now() : Math.max(Date.now(), Date.parse(start))
  const until = seconds === undefined ? null : new Date(fromMs + seconds * 1000).toISOString()
  const input = { to: to ?? null, until }
  const onto = next === undefined ? '' : ` to ${next}`
  const when = start === null ? '' : ` at ${start}`
  const title = `switch ${cluster.name} over${onto}${when}`
  return accepted(await startOperation(tx, request, switchover, cluster, title, input, start))
}

/** Throws what is in the way, unless the operation waits, and may find it gone. */
async function chooseNext(
  platform: Api['platform'],
  tx: Queryable,
  { id }: ClusterRow,
  to: string | undefined,
  waits: boolean,
): Promise<string | undefined> {
  const database = { ...platform.database, query: tx.query.bind(tx) }
  try {
    return (await preflight({ database, clusterId: id }, to)).candidate.name
  } catch (error) {
    if (waits && mayPass(error)) return to
    throw error
  }
}

function registerFailover({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/failover',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change the leader when the present one cannot answer',
        params: Params,
        body: FailoverRequest,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        refuseInMaintenance(cluster)
        const { to, accept_loss } = request.body
        const input = { to: to ?? null, accept_loss: accept_loss === true }
        const title = `fail ${cluster.name} over${to === undefined ? '' : ` to ${to}`}`
        return accepted(await startOperation(tx, request, failover, cluster, title, input))
      }),
  )
  app.get(
    '/v1/clusters/:cluster/failovers',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Changes of leader with their timings and loss receipts, the newest first',
        params: Params,
        response: { 200: Type.Object({ data: Type.Array(Failover) }) },
      },
    },
    async (request) => {
      const cluster = await requireCluster(platform.database, request.params.cluster)
      const events = await listGuardEvents(platform.database, cluster.id, GUARD_EVENTS_MAX)
      return { data: summarizeFailovers(events, cluster.spec.durability) }
    },
  )
}

function registerRestart({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/restart',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Restart the instances one after the other, or one of them',
        params: Params,
        body: Restart,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        refuseInMaintenance(cluster)
        const { instance, pending_only } = request.body
        const scope: RestartScope =
          instance === undefined
            ? { kind: pending_only === true ? 'pending' : 'all' }
            : { kind: 'one', name: instance }
        await requireInstances(tx, cluster, instance === undefined ? [] : [instance])
        const title = `restart ${instance ?? `the instances of ${cluster.name}`}`
        const input = { scope }
        return accepted(await startOperation(tx, request, restartCluster, cluster, title, input))
      }),
  )
}

async function requireInstances(
  tx: Queryable,
  cluster: ClusterRow,
  names: readonly string[],
): Promise<void> {
  const known = (await listInstances(tx, cluster.id)).map((row) => row.name)
  const stranger = names.find((name) => !known.includes(name))
  if (stranger !== undefined) {
    throw new HowdahError('not-found', `cluster ${cluster.name} has no instance ${stranger}`)
  }
}

/**
 * The ones that were named, then replicas with the highest numbers; the leader only when it is
 * named.
 */
async function chooseLeaving(
  tx: Queryable,
  cluster: ClusterRow,
  wanted: number,
  named: readonly string[],
): Promise<string[]> {
  const rows = await listInstances(tx, cluster.id)
  const leader = leaderOf(await hostsById(tx), rows)
  const others = rows
    .filter((row) => !named.includes(row.name) && row.id !== leader?.id)
    .sort((a, b) => b.number - a.number)
    .map((row) => row.name)
  const surplus = rows.length - named.length - wanted
  return [...named, ...others.slice(0, Math.max(0, surplus))]
}

function registerScale({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/scale',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Change how many instances there are, or replace some',
        params: Params,
        body: Scale,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const found = await requireAvailable(tx, request.params.cluster)
        const cluster = (await lockCluster(tx, found.id)) as ClusterRow
        refuseInMaintenance(cluster)
        const { instances, remove } = request.body
        if (cluster.spec.durability === 'strict' && instances === 1) {
          throw new HowdahError('bad-request', 'durability strict needs at least two instances')
        }
        await requireInstances(tx, cluster, remove ?? [])
        const leaving = await chooseLeaving(tx, cluster, instances, remove ?? [])
        const spec = { ...cluster.spec, instances }
        await updateClusterSpec(tx, cluster.id, cluster.version, spec)
        const title = `scale ${cluster.name} to ${instances} instances`
        const { source } = request.body
        const input = { remove: leaving, ...(source === undefined ? {} : { source }) }
        return accepted(await startOperation(tx, request, scaleCluster, cluster, title, input))
      }),
  )
}

async function setMaintenance(
  tx: Queryable,
  request: FastifyRequest,
  reference: string,
  maintenance: boolean,
): Promise<Answer> {
  const found = await requireAvailable(tx, reference)
  const cluster = (await lockCluster(tx, found.id)) as ClusterRow
  await updateClusterSpec(tx, cluster.id, cluster.version, { ...cluster.spec, maintenance })
  const title = `${maintenance ? 'pause' : 'resume'} ${cluster.name}`
  const input = { restart: false }
  const started = await startOperation(tx, request, updateCluster, cluster, title, input)
  await setClusterState(tx, cluster.id, 'available', '')
  return accepted(started)
}

function registerMaintenance({ app, platform }: Api): void {
  for (const [action, maintenance] of [
    ['pause', true],
    ['resume', false],
  ] as const) {
    app.post(
      `/v1/clusters/:cluster/${action}`,
      {
        config: { access: 'operate' },
        schema: {
          tags,
          summary: maintenance
            ? 'Pause: nothing fails over or restarts by itself until resumed'
            : 'Resume after a pause',
          params: Params,
          response: { 202: OperationAccepted },
        },
      },
      (request, reply) =>
        mutate(platform, request, reply, (tx) =>
          setMaintenance(tx, request, request.params.cluster, maintenance),
        ),
    )
  }
}
