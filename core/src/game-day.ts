// Owns what a game day can do to a cluster, and how its report is summed up.
import type { GameDayReport, GameDayRound } from './contract/drills.ts'

/** What dies or stops answering. Every one heals by itself; that it does is what is rehearsed. */
export const GAME_DAY_FAULTS = [
  'leader-process',
  'leader-frozen',
  'leader-host',
  'leader-host-silent',
  'network-cut',
  'patroni',
  'dcs-member',
  'haproxy',
  'pgbouncer',
  'agent',
] as const
export type GameDayFault = (typeof GAME_DAY_FAULTS)[number]

/** How long writes are watched in a round: from before the fault until it is certainly over. */
export const ROUND_MS: Readonly<Record<GameDayFault, number>> = {
  'leader-process': 12_000,
  'leader-frozen': 30_000,
  'leader-host': 30_000,
  'leader-host-silent': 30_000,
  'network-cut': 30_000,
  patroni: 10_000,
  'dcs-member': 10_000,
  haproxy: 10_000,
  pgbouncer: 10_000,
  agent: 10_000,
}

/** Label of clusters that a game day may break without being told twice. */
export const TEST_CLUSTER_LABEL = 'howdah.test'

/** Faults that take all of the leader's host away, whosever it is. */
export const HOST_FAULTS: readonly GameDayFault[] = [
  'leader-host',
  'leader-host-silent',
  'network-cut',
]

interface Part {
  cluster_id: string
  host_id: string
}

/**
 * Ids of the clusters that the faults may touch. Any instance of the cluster may lead when its turn
 * comes; and a host that goes takes its dcs member along, which serves every cluster.
 */
export function touchedClusters(
  clusterId: string,
  faults: readonly GameDayFault[],
  present: {
    clusterIds: readonly string[]
    instances: readonly Part[]
    gateways: readonly Part[]
    dcsHostIds: readonly string[]
  },
): string[] {
  const { clusterIds, instances, gateways, dcsHostIds } = present
  const own = instances.filter((instance) => instance.cluster_id === clusterId)
  const hosts = new Set(own.map((instance) => instance.host_id))
  const takesHost = faults.some((fault) => HOST_FAULTS.includes(fault))
  const takesMember = takesHost && dcsHostIds.some((id) => hosts.has(id))
  if (takesMember || faults.includes('dcs-member')) return [...clusterIds]
  // Without its agent nobody on the host fences, and nobody there points gateways.
  if (!takesHost && !faults.includes('agent')) return [clusterId]
  const parts = [...instances, ...gateways].filter(({ host_id }) => hosts.has(host_id))
  const touched = new Set([clusterId, ...parts.map(({ cluster_id }) => cluster_id)])
  return clusterIds.filter((id) => touched.has(id))
}

/** What must not happen, whatever broke. Writes that failed are no such thing: they were told. */
export function findProblems({ rounds, lost }: GameDayReport): string[] {
  const problems = [
    { said: `${lost} acknowledged writes were lost`, is: (round: GameDayRound) => round.lost > 0 },
    {
      said: 'several instances accepted writes at one moment',
      is: (round: GameDayRound) => round.leaders_at_once_max > 1,
    },
    {
      said: 'the cluster was not whole again in time',
      is: (round: GameDayRound) => round.healed_ms === null,
    },
  ]
  return problems.flatMap(({ said, is }) => {
    const faults = new Set(rounds.filter(is).map(({ fault }) => fault))
    return faults.size === 0 ? [] : [`${said} (${[...faults].join(', ')})`]
  })
}

export function summarizeGameDay(rounds: readonly GameDayRound[]): GameDayReport {
  const watchedMs = rounds.reduce((sum, round) => sum + round.watched_ms, 0)
  const awayMs = rounds.reduce((sum, round) => sum + (round.gaps_ms ?? round.longest_gap_ms), 0)
  return {
    rounds: [...rounds],
    acknowledged: rounds.reduce((sum, round) => sum + round.acknowledged, 0),
    failed: rounds.reduce((sum, round) => sum + round.failed, 0),
    lost: rounds.reduce((sum, round) => sum + round.lost, 0),
    leaders_at_once_max: Math.max(0, ...rounds.map((round) => round.leaders_at_once_max)),
    availability: watchedMs === 0 ? 1 : Math.round((1 - awayMs / watchedMs) * 1e5) / 1e5,
  }
}
