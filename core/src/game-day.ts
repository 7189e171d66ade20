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

export function summarizeGameDay(rounds: readonly GameDayRound[]): GameDayReport {
  const watchedMs = rounds.reduce((sum, round) => sum + round.watched_ms, 0)
  const awayMs = rounds.reduce((sum, round) => sum + round.longest_gap_ms, 0)
  return {
    rounds: [...rounds],
    acknowledged: rounds.reduce((sum, round) => sum + round.acknowledged, 0),
    failed: rounds.reduce((sum, round) => sum + round.failed, 0),
    lost: rounds.reduce((sum, round) => sum + round.lost, 0),
    leaders_at_once_max: Math.max(0, ...rounds.map((round) => round.leaders_at_once_max)),
    availability: watchedMs === 0 ? 1 : Math.round((1 - awayMs / watchedMs) * 1e5) / 1e5,
  }
}
