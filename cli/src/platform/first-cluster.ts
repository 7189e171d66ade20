// Owns the cluster that a first start makes, so that there is something to connect to.
import type { Cluster, ClusterAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { type ApiClient, apiPath } from '../api-client.ts'
import { saveCredentials } from '../credentials-file.ts'
import type { JoinContext } from './join-hosts.ts'
import type { HostPlace, PlatformLayout } from './layout.ts'
import { type Settings, writeSettings } from './settings.ts'
import { waitFor } from './wait-for.ts'

const DEMO_NAME = 'demo'
const CLUSTERS_TIMEOUT_MS = 30_000

/**
 * The operation to follow: a new one, or the one that an interrupted start left at work. Undefined
 * when no cluster is wanted, or there is one already.
 */
export async function createFirstCluster(
  client: ApiClient,
  layout: PlatformLayout,
  settings: Settings,
): Promise<Operation | undefined> {
  if (settings.demo === 'declined') return undefined
  const clusters = await client.list<Cluster>('/v1/clusters')
  const running = clusters.find((cluster) => cluster.name === DEMO_NAME)?.running_operation_id
  if (typeof running === 'string') {
    return client.get<Operation>(apiPath`/v1/operations/${running}`)
  }
  if (settings.demo === 'created') return undefined
  if (clusters.length > 0) {
    await writeSettings(layout.settingsFile, { ...settings, demo: 'created' })
    return undefined
  }
  const body = { name: DEMO_NAME, instances: instanceCount(layout.hosts) }
  const { data } = await client.request<ClusterAccepted>('POST', '/v1/clusters', { body })
  // Before anything else: they are shown this once.
  if (data.credentials !== undefined) {
    await saveCredentials(layout.home, data.cluster, data.credentials)
  }
  await writeSettings(layout.settingsFile, { ...settings, demo: 'created' })
  return data.operation
}

/**
 * Waits until the clusters that this platform had before are whole again. Returns those that are
 * not yet: one that stays degraded is no reason not to start.
 */
export async function waitClusters(context: JoinContext): Promise<Cluster[]> {
  const { client, sinceMs, signal } = context
  let late: Cluster[] = []
  const wanted = { what: 'the clusters', timeoutMs: CLUSTERS_TIMEOUT_MS, intervalMs: 250, signal }
  try {
    await waitFor(wanted, async () => {
      const clusters = await client.list<Cluster>('/v1/clusters')
      late = clusters.filter((cluster) => isBroken(cluster) || isStale(cluster, sinceMs))
      return late.length === 0 ? { value: undefined } : { seen: `${late.length} are not` }
    })
    return []
  } catch (error) {
    if (error instanceof HowdahError && error.code === 'step-timeout') return late
    throw error
  }
}

// Right after a start nobody leads yet, so `failed` is about to end. One that stays failed costs
// the start its deadline, and ends in a warning.
function isBroken(cluster: Cluster): boolean {
  return (
    cluster.state === 'degraded' || (cluster.state === 'failed' && cluster.instances.length > 0)
  )
}

// The state is what was last concluded: the instances tell whether it is about what runs now.
function isStale(cluster: Cluster, sinceMs: number): boolean {
  const isSeen = (at: string | null) => at !== null && Date.parse(at) >= sinceMs
  return (
    cluster.state === 'available' &&
    cluster.instances.some(
      (instance) =>
        !isSeen(instance.observed_at) || !(instance.role === 'leader' || instance.streaming),
    )
  )
}

function instanceCount(hosts: HostPlace[]): number {
  return Math.min(3, hosts.filter((host) => host.role === 'data').length)
}
