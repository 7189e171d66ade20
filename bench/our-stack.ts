// Owns ours as a stack: a platform of its own with one cluster, as `howdah cluster create` makes
// it.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { endpointOf, type TestCluster } from '../test/harness/cluster.ts'
import { findHomeProcesses } from '../test/harness/home-processes.ts'
import { startPlatform, type TestPlatform } from '../test/harness/platform.ts'
import { until } from '../test/harness/until.ts'
import type { SqlAddress } from './sql.ts'
import type { Stack } from './stack.ts'

const WHOLE_TIMEOUT_MS = 120_000
const OPERATION_TIMEOUT_MS = 120_000

export interface OurStack extends Stack {
  platform: TestPlatform
  /** What the operation of the last switchover reported of itself. */
  lastReport(): Operation | undefined
}

/** `subnet`: the first three parts of the addresses of its hosts. */
export async function startOurStack(subnet: string): Promise<OurStack> {
  await using undo = new AsyncDisposableStack()
  const platform = undo.use(await startPlatform({ subnet }))
  const cluster = await platform.createCluster('bench')
  const stack = makeStack(platform, cluster)
  await stack.waitWhole()
  const parts = undo.move()
  return { ...stack, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

function makeStack(
  platform: TestPlatform,
  cluster: TestCluster,
): Omit<OurStack, typeof Symbol.asyncDispose> {
  const path = `/v1/clusters/${cluster.cluster.id}`
  const read = async () => (await platform.api<Cluster>('GET', path)).body
  let report: Operation | undefined
  return {
    name: 'ours',
    platform,
    write: addressOf(cluster, endpointOf(cluster.cluster, 'write')),
    routed: addressOf(cluster, endpointOf(cluster.cluster, 'write-direct')),
    lastReport: () => report,
    instances: async () =>
      (await read()).instances.map((instance) => ({
        name: instance.name,
        direct: addressOf(cluster, instance),
        dataDirectory: join(
          ...[platform.home, 'hosts', instance.host, 'data', instance.id, 'pgdata'],
        ),
      })),
    waitWhole: () => waitWhole(read),
    candidate: async () =>
      (await read()).instances.find(({ role }) => role === 'sync-replica')?.name ?? '',
    switchover: async (to) => {
      report = await switchOurs(platform, path, to)
    },
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

async function waitWhole(read: () => Promise<Cluster>): Promise<string> {
  return until('our cluster to be whole', WHOLE_TIMEOUT_MS, async () => {
    const { instances, state, message, running_operation_id } = await read()
    const leader = instances.find(({ role }) => role === 'leader')
    const streaming = instances.filter((instance) => instance.streaming).length
    const hasSync = instances.some(({ role }) => role === 'sync-replica')
    const isWhole = leader !== undefined && streaming === 2 && hasSync && state === 'available'
    if (isWhole && running_operation_id === null) return { value: leader.name }
    return { seen: `${state}: ${message}; ${streaming} stream` }
  })
}

async function switchOurs(platform: TestPlatform, path: string, to: string): Promise<Operation> {
  const reply = await platform.api<{ operation: Operation }>('POST', `${path}/switchover`, { to })
  if (reply.status !== 202) throw new Error(`switchover: ${JSON.stringify(reply.body)}`)
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
  for (const path of readdirSync(hosts, { recursive: true, encoding: 'utf8' })) {
    const file = /(?:haproxy\.cfg|pgbouncer-\w+\.ini)$/.exec(path)?.[0]
    if (file !== undefined) found[file] = readFileSync(join(hosts, path), 'utf8')
  }
  return found
}
