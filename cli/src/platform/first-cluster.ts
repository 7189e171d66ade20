// Owns the cluster that a first start makes, so that there is something to connect to.
import type { Cluster, ClusterAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { type ApiClient, apiPath } from '../api-client.ts'
import { saveCredentials } from '../credentials-file.ts'
import type { HostPlace, PlatformLayout } from './layout.ts'
import { type Settings, writeSettings } from './settings.ts'

export const DEMO_NAME = 'demo'

/**
 * The operation to follow: a new one, or the one that an interrupted start left at work. Undefined when
 * no cluster is wanted, or there is one already.
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

function instanceCount(hosts: HostPlace[]): number {
  return Math.min(3, hosts.filter((host) => host.role === 'data').length)
}
