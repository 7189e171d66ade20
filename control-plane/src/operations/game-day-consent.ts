// Owns whether a game day may begin: it breaks hosts and the dcs, and so also clusters that nobody
// named. The API asks before it accepts one, and the operation before each round.
import { HowdahError } from '@howdah/core/errors.ts'
import { type GameDayFault, TEST_CLUSTER_LABEL, touchedClusters } from '@howdah/core/game-day.ts'
import type { Queryable } from '../database.ts'
import { listClusters, listGateways, listInstances } from '../db/clusters.ts'
import { readDcs } from '../db/hosts.ts'

const CLUSTER_COUNT_MAX = 10_000

/**
 * Throws `confirmation-missing` where the faults may touch a cluster that is not for tests, unless
 * the cluster was named and the outage accepted.
 */
export async function refuseUnlessToldTwice(
  db: Queryable,
  clusterId: string,
  faults: readonly GameDayFault[],
  toldTwice: boolean,
): Promise<void> {
  if (toldTwice) return
  const clusters = await listClusters(db, { after: '', limit: CLUSTER_COUNT_MAX, deleted: false })
  const touched = touchedClusters(clusterId, faults, {
    clusterIds: clusters.map(({ id }) => id),
    instances: await listInstances(db),
    gateways: await listGateways(db),
    dcsHostIds: (await readDcs(db)).members.map(({ host_id }) => host_id),
  })
  const names = clusters
    .filter(({ id, spec }) => touched.includes(id) && spec.labels[TEST_CLUSTER_LABEL] !== 'true')
    .map(({ name }) => name)
  if (names.length === 0) return
  const own = clusters.find(({ id }) => id === clusterId)?.name ?? clusterId
  throw new HowdahError(
    'confirmation-missing',
    `it breaks what is no test cluster (label ${TEST_CLUSTER_LABEL}=true): ${names.join(', ')}: ` +
      `send confirm with the name ${own}, and accept_outage`,
  )
}
