// Owns ours as a stack: a platform of its own with one cluster, as `howdah cluster create` makes
// it.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Sensitivity } from '@howdah/core/host-spec.ts'
import { endpointOf, type TestCluster } from '../test/harness/cluster.ts'
import { loopbackHost } from '../test/harness/faults-stage.ts'
import { findHomeProcesses } from '../test/harness/home-processes.ts'
import { startPlatform, type TestPlatform } from '../test/harness/platform.ts'
import { until } from '../test/harness/until.ts'
import { type HostLoss, type LossKind, loseHost } from './host-loss.ts'
import { querySql, type SqlAddress } from './sql.ts'
import type { Stack } from './stack.ts'

const WHOLE_TIMEOUT_MS = 120_000
const BACKUP_TIMEOUT_MS = 120_000
const OPERATION_TIMEOUT_MS = 120_000

export interface OurStack extends Stack {
  platform: TestPlatform
  /** What the last operation, a switchover or a restart, reported of itself. */
  lastReport(): Operation | undefined
  /** What the platform recorded of the last change of leader. */
  lastFailover(): Promise<Cluster['last_failover']>
}

export interface OurOptions {
  /** First three parts of the addresses of its hosts. */
  subnet: string
  sensitivity?: Sensitivity | undefined
}

export async function startOurStack({ subnet, sensitivity }: OurOptions): Promise<OurStack> {
  await using undo = new AsyncDisposableStack()
  const platform = undo.use(await startPlatform({ subnet }))
  const cluster = await platform.createCluster('bench', sensitivity && { sensitivity })
  const stack = makeStack(platform, cluster)
  await waitFirstBackup(platform, cluster)
  await stack.waitWhole()
  const parts = undo.move()
  return { ...stack, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** It is taken right after creation, and no part of what happens to a cluster that is at work. */
async function waitFirstBackup(platform: TestPlatform, { cluster }: TestCluster): Promise<void> {
  await until('the first backup', BACKUP_TIMEOUT_MS, async () => {
    const path = `/v1/clusters/${cluster.id}/backups`
    const { body } = await platform.api<{ data: unknown[] }>('GET', path)
    return body.data.length > 0 ? { value: true } : { seen: 'none' }
  })
}

function makeStack(
  platform: TestPlatform,
  cluster: TestCluster,
): Omit<OurStack, typeof Symbol.asyncDispose> {
  const path = `/v1/clusters/${cluster.cluster.id}`
  const read = async () => (await platform.api<Cluster>('GET', path)).body
  let report: Operation | undefined
  const { sensitivity } = cluster.cluster.spec
  return {
    name: 'ours',
    facts: { sensitivity },
    platform,
    write: addressOf(cluster, endpointOf(cluster.cluster, 'write')),
    routed: addressOf(cluster, endpointOf(cluster.cluster, 'write-direct')),
    lastReport: () => report,
    lastFailover: async () => (await read()).last_failover,
    instances: async () =>
      (await read()).instances.map((instance) => ({
        name: instance.name,
        direct: addressOf(cluster, instance),
        dataDirectory: join(
          ...[platform.home, 'hosts', instance.host, 'data', instance.id, 'pgdata'],
        ),
      })),
    waitWhole: () => waitWhole(read, cluster),
    candidate: async () =>
      (await read()).instances.find(({ role }) => role === 'sync-replica')?.name ?? '',
    switchover: async (to) => {
      report = await operate(platform, `${path}/switchover`, { to })
    },
    restartAll: async () => {
      report = await operate(platform, `${path}/restart`, {})
    },
    loseHost: async (name, kind) => loseHostOf(platform, await read(), name, kind),
    gatewayPids: () => gatewayPids(platform),
    configuration: () => readConfiguration(platform),
  }
}

function addressOf(
  { credentials, caPem }: TestCluster,
  { address: host, port }: { address: string; port: number },
): SqlAddress {
  const { role: user, password, database } = credentials
  return { host, port, user, password, database: database ?? 'app', caPem }
}

async function waitWhole(read: () => Promise<Cluster>, cluster: TestCluster): Promise<string> {
  return until('our cluster to be whole', WHOLE_TIMEOUT_MS, async () => {
    const { instances, state, message, running_operation_id, readiness } = await read()
    const leader = instances.find(({ role }) => role === 'leader')
    const streaming = instances.filter((instance) => instance.streaming).length
    const hasSync = instances.some(({ role }) => role === 'sync-replica')
    const isWhole = leader !== undefined && streaming === 2 && hasSync && state === 'available'
    if (!isWhole || running_operation_id !== null) {
      return { seen: `${state}: ${message}; ${streaming} stream` }
    }
    const missing = findMissing(readiness)
    if (missing !== undefined) return { seen: missing }
    // Reports lag behind what they tell of: right after a loss, a leader that is gone still leads.
    const text = 'select pg_is_in_recovery() as replica'
    const limits = { connectTimeoutMs: 1000, queryTimeoutMs: 1000 }
    const rows = await querySql<{ replica: boolean }>(addressOf(cluster, leader), text, limits)
    return rows[0]?.replica === false ? { value: leader.name } : { seen: 'the leader reads only' }
  })
}

/** A dcs can do without one member: the next host that is lost may be another one's. */
function findMissing({ checks }: Cluster['readiness']): string | undefined {
  const isFine = ({ name, ok, message }: (typeof checks)[number]) =>
    ok && (name !== 'dcs' || /^(\d+) of \1 /.test(message))
  return checks.find((check) => !isFine(check))?.message
}

/** Its agent, s6, Patroni, PostgreSQL and its member of the dcs: a host is its directory. */
async function loseHostOf(
  platform: TestPlatform,
  { instances }: Cluster,
  name: string,
  kind: LossKind,
): Promise<HostLoss> {
  const instance = instances.find((one) => one.name === name)
  if (instance === undefined) throw new Error(`ours has no instance ${name}`)
  return loseHost(loopbackHost(platform, instance.host, instance.address), kind)
}

async function operate(platform: TestPlatform, path: string, body: object): Promise<Operation> {
  const reply = await platform.api<{ operation: Operation }>('POST', path, body)
  if (reply.status !== 202) throw new Error(`${path}: ${JSON.stringify(reply.body)}`)
  const { id } = reply.body.operation
  const operation = await platform.waitOperation(id, OPERATION_TIMEOUT_MS)
  if (operation.state !== 'succeeded') throw new Error(JSON.stringify(operation.error))
  return operation
}

function gatewayPids(platform: TestPlatform): number[] {
  return findHomeProcesses(platform.home)
    .filter(({ argv }) => /\/(?:haproxy|pgbouncer)$/.test(argv[0] ?? ''))
    .map(({ pid }) => pid)
}

/** HAProxy's and PgBouncer's files as the agent wrote them; neither holds a password. */
function readConfiguration(platform: TestPlatform): Record<string, string> {
  const hosts = join(platform.home, 'hosts')
  const found: Record<string, string> = {}
  for (const host of readdirSync(hosts)) {
    const config = join(hosts, host, 'config')
    for (const path of readdirSync(config, { recursive: true, encoding: 'utf8' })) {
      const file = /(?:haproxy\.cfg|pgbouncer-\w+\.ini)$/.exec(path)?.[0]
      if (file !== undefined) found[file] = readFileSync(join(config, path), 'utf8')
    }
  }
  return found
}
