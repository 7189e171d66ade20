// Owns how a cluster is shown: its rows joined with what the agents last observed.

import { clusterHealth, type ObservedInstance } from '@howdah/core/cluster-health.ts'
import type { Cluster, Endpoint, Instance } from '@howdah/core/contract/clusters.ts'
import { isDiskLow, sayFree } from '@howdah/core/disk-space.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { summarizeFailovers } from '@howdah/core/failovers.ts'
import type { GatewayCanary, PatroniStatus, ServiceStatus } from '@howdah/core/protocol.ts'
import { judgeReadiness } from '@howdah/core/readiness.ts'
import type { Queryable } from '../database.ts'
import {
  type ClusterRow,
  type GatewayRow,
  type InstanceRow,
  listGateways,
  listInstances,
} from '../db/clusters.ts'
import { listGuardEvents } from '../db/guard-events.ts'
import { type HostRow, listHosts, readDcs } from '../db/hosts.ts'
import { runningOperation } from '../db/operations.ts'
import { parametersOf } from '../hosts/render-input.ts'

/**
 * A candidate further behind would make clients wait for its replay. More than a segment: where one
 * ends early, as each minute and with each backup, a leader that was seen later is that far ahead.
 */
export const CANDIDATE_LAG_BYTES_MAX = 32 * 1024 * 1024
/** Enough for the last change of leader, as told by three gateways and its hosts. */
const GUARD_EVENTS_SHOWN = 50

function serviceOf(host: HostRow | undefined, name: string): ServiceStatus | undefined {
  if (host?.online !== true) return undefined
  return host.services.find((service) => service.name === name)
}

export function patroniOf(
  hosts: ReadonlyMap<string, HostRow>,
  instance: InstanceRow,
): PatroniStatus | undefined {
  return serviceOf(hosts.get(instance.host_id), `patroni-${instance.id}`)?.patroni
}

/** All three services of a gateway do their work. */
export function isGatewayReady(hosts: ReadonlyMap<string, HostRow>, gateway: GatewayRow): boolean {
  const host = hosts.get(gateway.host_id)
  const names = [
    `haproxy-${gateway.id}`,
    `pgbouncer-write-${gateway.id}`,
    `pgbouncer-read-${gateway.id}`,
  ]
  return names.every((name) => serviceOf(host, name)?.ready === true)
}

function canaryOf(
  hosts: ReadonlyMap<string, HostRow>,
  gateway: GatewayRow,
): GatewayCanary | undefined {
  const host = hosts.get(gateway.host_id)
  if (host?.online !== true) return undefined
  return host.canaries.find(({ gatewayId }) => gatewayId === gateway.id)
}

export async function hostsById(db: Queryable): Promise<Map<string, HostRow>> {
  return new Map((await listHosts(db)).map((host) => [host.id, host]))
}

/**
 * Of the instances that report as leader, the one on the newest timeline: an old one may not know
 * yet.
 */
export function leaderOf(
  hosts: ReadonlyMap<string, HostRow>,
  instances: readonly InstanceRow[],
): InstanceRow | undefined {
  const leaders = instances
    .map((instance) => ({ instance, patroni: patroniOf(hosts, instance) }))
    .filter(({ patroni }) => patroni?.role === 'leader' && patroni.state === 'running')
  leaders.sort((a, b) => (b.patroni?.timeline ?? 0) - (a.patroni?.timeline ?? 0))
  return leaders[0]?.instance
}

function endpointsOf(
  hosts: ReadonlyMap<string, HostRow>,
  gateways: readonly GatewayRow[],
): Endpoint[] {
  return gateways.flatMap((gateway) => {
    const address = hosts.get(gateway.host_id)?.address ?? ''
    const { write, read, writeDirect, readDirect, stats } = gateway.ports
    const endpoint = (purpose: Endpoint['purpose'], port: number): Endpoint => ({
      purpose,
      gateway: gateway.name,
      address,
      port,
    })
    return [
      endpoint('write', write),
      endpoint('read', read),
      endpoint('write-direct', writeDirect),
      endpoint('read-direct', readDirect),
      endpoint('stats', stats),
    ]
  })
}

/** A paused cluster is left alone by everything that would move its leader. */
export function refuseInMaintenance({ name, spec }: Pick<ClusterRow, 'name' | 'spec'>): void {
  if (!spec.maintenance) return
  throw new HowdahError('wrong-state', `cluster ${name} is paused: resume it first`)
}

/** Throws `host-away` where a host of these instances and gateways does not answer. */
export function refuseAway(
  hosts: ReadonlyMap<string, HostRow>,
  parts: readonly { host_id: string }[],
): void {
  const away = silentHosts(hosts, parts)
  if (away.length > 0) throw new HowdahError('host-away', `not heard of: ${away.join(', ')}`)
}

function silentHosts(
  hosts: ReadonlyMap<string, HostRow>,
  parts: readonly { host_id: string }[],
): string[] {
  return hostsOf(hosts, parts).flatMap((host) => (host.online ? [] : [host.name]))
}

function lowDisks(
  hosts: ReadonlyMap<string, HostRow>,
  parts: readonly { host_id: string }[],
): { name: string; said: string }[] {
  return hostsOf(hosts, parts).flatMap(({ name, facts }) =>
    facts != null && isDiskLow(facts) ? [{ name, said: sayFree(facts) }] : [],
  )
}

/** Both are there as far as we know: one that is away cannot be heard. */
function deafHosts(
  hosts: ReadonlyMap<string, HostRow>,
  clusterId: string,
  parts: readonly { host_id: string }[],
): { name: string; to: string }[] {
  const online = hostsOf(hosts, parts).filter((host) => host.online)
  return online.flatMap(({ name, unheard }) =>
    unheard
      .filter(({ cluster }) => cluster === clusterId)
      .flatMap(({ host }) => online.filter(({ id }) => id === host))
      .map((to) => ({ name, to: to.name })),
  )
}

/** The hosts that these parts stand on, each once. */
function hostsOf(
  hosts: ReadonlyMap<string, HostRow>,
  parts: readonly { host_id: string }[],
): HostRow[] {
  const ids = new Set(parts.map((part) => part.host_id))
  return [...ids].flatMap((id) => hosts.get(id) ?? [])
}

function lagBytes(
  leader: PatroniStatus | undefined,
  own: PatroniStatus | undefined,
): number | null {
  if (leader?.walPosition == null || own?.walPosition == null) return null
  // The two were observed at different moments: a replica seen later may look ahead of its leader.
  return Math.max(0, Number(BigInt(leader.walPosition) - BigInt(own.walPosition)))
}

/**
 * The leader knows who streams; what a replica of Patroni 3.0 says of itself stays true after a
 * break.
 */
function isStreaming(
  leader: PatroniStatus | undefined,
  row: InstanceRow,
  own: PatroniStatus | undefined,
): boolean {
  if (own === undefined || own.role === 'leader') return false
  if (leader === undefined) return own.streaming
  return leader.replicas.some(({ name, state }) => name === row.name && state === 'streaming')
}

/** What the instances of a cluster report, with streaming as the leader sees it. */
export function observe(
  hosts: ReadonlyMap<string, HostRow>,
  instances: readonly InstanceRow[],
): ObservedInstance[] {
  const leader = leaderOf(hosts, instances)
  const leaderStatus = leader === undefined ? undefined : patroniOf(hosts, leader)
  return instances.map((row) => {
    const patroni = patroniOf(hosts, row)
    if (patroni === undefined) return { name: row.name, patroni }
    const streaming = isStreaming(leaderStatus, row, patroni)
    return { name: row.name, patroni: { ...patroni, streaming } }
  })
}

function toInstance(
  hosts: ReadonlyMap<string, HostRow>,
  row: InstanceRow,
  leader: PatroniStatus | undefined,
): Instance {
  const host = hosts.get(row.host_id)
  const patroni = patroniOf(hosts, row)
  return {
    id: row.id,
    name: row.name,
    host: host?.name ?? '',
    address: host?.address ?? '',
    port: row.postgres_port,
    role: patroni?.role ?? 'unknown',
    state: patroni?.state ?? 'unknown',
    streaming: isStreaming(leader, row, patroni),
    timeline: patroni?.timeline ?? null,
    lag_bytes: patroni === undefined || patroni === leader ? null : lagBytes(leader, patroni),
    pending_restart: patroni?.pendingRestart ?? false,
    observed_at: host?.seen_at?.toISOString() ?? null,
  }
}

/** `available` in the database means "should be working"; what is shown is what is observed. */
export async function showClusters(db: Queryable, rows: readonly ClusterRow[]): Promise<Cluster[]> {
  const hosts = await hostsById(db)
  const members = (await readDcs(db)).members.map((member) => ({
    name: member.name,
    hostId: member.host_id,
    ready: serviceOf(hosts.get(member.host_id), 'etcd')?.ready === true,
  }))
  const shown: Cluster[] = []
  for (const row of rows) {
    const instances = await listInstances(db, row.id)
    const gateways = await listGateways(db, row.id)
    const leader = leaderOf(hosts, instances)
    const leaderStatus = leader === undefined ? undefined : patroniOf(hosts, leader)
    const observed = observe(hosts, instances)
    const observedGateways = gateways.map((gateway) => ({
      name: gateway.name,
      ready: isGatewayReady(hosts, gateway),
      withLeader: gateway.host_id === leader?.host_id,
      canary: canaryOf(hosts, gateway),
    }))
    const health = clusterHealth(observed, observedGateways)
    const working = row.state === 'available'
    const failovers = summarizeFailovers(
      await listGuardEvents(db, row.id, GUARD_EVENTS_SHOWN),
      row.spec.durability,
    )
    shown.push({
      id: row.id,
      name: row.name,
      state: working ? health.state : row.state,
      message: working ? health.message : row.message,
      spec: row.spec,
      version: row.version,
      endpoints: row.state === 'deleted' ? [] : endpointsOf(hosts, gateways),
      instances: instances.map((instance) => toInstance(hosts, instance, leaderStatus)),
      parameters: row.share === null ? [] : parametersOf(row.spec, row.share),
      readiness: judgeReadiness({
        durability: row.spec.durability,
        instances: observed,
        gateways: observedGateways,
        outlivesHost: instances.some(({ host_id }) => host_id !== leader?.host_id),
        dcsMembers: members.map(({ name, ready, hostId }) => ({
          name,
          ready,
          withLeader: hostId === leader?.host_id,
        })),
        silentHosts: silentHosts(hosts, [...instances, ...gateways]),
        deaf: deafHosts(hosts, row.id, [...instances, ...gateways]),
        lowDisks: lowDisks(hosts, [...instances, ...gateways]),
        maintenance: row.spec.maintenance,
        lagBytesMax: CANDIDATE_LAG_BYTES_MAX,
      }),
      last_failover: failovers[0] ?? null,
      running_operation_id: (await runningOperation(db, row.id)) ?? null,
      created_at: row.created_at.toISOString(),
      deleted_at: row.deleted_at?.toISOString() ?? null,
      purge_at: row.purge_at?.toISOString() ?? null,
    })
  }
  return shown
}

export async function showCluster(db: Queryable, row: ClusterRow): Promise<Cluster> {
  return (await showClusters(db, [row]))[0] as Cluster
}
