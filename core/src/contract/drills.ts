// Owns drills as the API takes and shows them: rehearsals on purpose, with a report that stays.
import { type Static, Type } from 'typebox'
import { Timestamp } from './resource.ts'

export const GameDayRequest = Type.Object(
  {
    faults: Type.Optional(
      Type.Array(
        Type.Enum([
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
        ]),
        { minItems: 1, maxItems: 16, description: 'Taken in turn; default: all' },
      ),
    ),
    rounds: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    /** Both are needed where a cluster without the label howdah.test may break. */
    confirm: Type.Optional(Type.String({ maxLength: 64 })),
    accept_outage: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)

export const GameDayRound = Type.Object({
  fault: Type.String(),
  target: Type.String(),
  acknowledged: Type.Integer(),
  failed: Type.Integer({ description: 'Writes that were refused or whose answer never came' }),
  lost: Type.Integer({ description: 'Acknowledged writes that were not there afterwards' }),
  longest_gap_ms: Type.Integer({ description: 'Between two acknowledged writes' }),
  /** Agents and reports of before do not have it. */
  gaps_ms: Type.Optional(
    Type.Integer({ description: 'All gaps of more than 100 ms together; the longest is in it' }),
  ),
  leaders_at_once_max: Type.Integer({
    description: 'Instances that accepted writes at one moment',
  }),
  healed_ms: Type.Union([Type.Integer(), Type.Null()], {
    description: 'From the end of the watch until every instance was whole; null: not within 60 s',
  }),
  watched_ms: Type.Integer(),
})

export const GameDayReport = Type.Object({
  rounds: Type.Array(GameDayRound),
  acknowledged: Type.Integer(),
  failed: Type.Integer(),
  lost: Type.Integer(),
  leaders_at_once_max: Type.Integer(),
  availability: Type.Number({ description: 'Share of the watched time that lies in no gap' }),
})

export const RestoreDrillReport = Type.Object({
  backup: Type.String({ description: 'Label of the backup that was restored' }),
  fetch_ms: Type.Integer(),
  replay_ms: Type.Integer(),
  amcheck_ms: Type.Integer(),
  recovery_ms: Type.Integer({ description: 'What a restore takes: fetching and replaying' }),
  size_bytes: Type.Integer(),
  ledger_rows: Type.Integer({ description: 'Lines that had to be found again' }),
  problem: Type.String({ description: 'Empty: the backup is proven' }),
  broken_segment: Type.Optional(
    Type.String({ description: 'Of WAL that is archived, and could not be replayed' }),
  ),
  took_ms: Type.Integer(),
  operation_id: Type.String(),
})
export const RestoreDrillRequest = Type.Object(
  { backup: Type.Optional(Type.String({ maxLength: 64, description: 'Default: the newest' })) },
  { additionalProperties: false },
)

export const Drill = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  cluster_id: Type.String(),
  operation_id: Type.String(),
  report: Type.Union([GameDayReport, RestoreDrillReport, Type.Null()]),
  created_at: Timestamp,
})

export type GameDayRequest = Static<typeof GameDayRequest>
export type GameDayRound = Static<typeof GameDayRound>
export type GameDayReport = Static<typeof GameDayReport>
export type RestoreDrillReport = Static<typeof RestoreDrillReport>
export type Drill = Static<typeof Drill>
