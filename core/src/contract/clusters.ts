// Owns clusters, their databases and roles as the API takes and shows them.
import { type Static, Type } from 'typebox'
import { RESOURCE_NAME_PATTERN } from '../names.ts'
import { REPLICA_SOURCES } from '../replica-source.ts'
import { BackupPolicy } from './backup-policy.ts'
import { Operation } from './operations.ts'
import { Labels, Timestamp } from './resource.ts'

/**
 * strict: writes stop without a replica; sync: falls back to the leader alone, and says so; async.
 */
export const DURABILITIES = ['strict', 'sync', 'async'] as const
export const Durability = Type.Enum([...DURABILITIES])

/** Values as text, a number or a boolean; each is checked against the parameter's own type. */
export const Parameters = Type.Record(
  Type.String({ pattern: '^[a-z_][a-z0-9_.]{0,62}$' }),
  Type.Union([Type.String({ maxLength: 1024 }), Type.Number(), Type.Boolean()]),
  { maxProperties: 100 },
)

/** fast finds a dead host in about 1 s, balanced in 3 s, patient in 10 s. */
export const Sensitivity = Type.Enum(['fast', 'balanced', 'patient'])

export const ClusterSpec = Type.Object({
  postgres_version: Type.String({ pattern: '^[0-9]{1,2}$' }),
  instances: Type.Integer({ minimum: 1, maximum: 5 }),
  gateways: Type.Integer({ minimum: 1, maximum: 3 }),
  durability: Durability,
  sensitivity: Sensitivity,
  maintenance: Type.Boolean({ description: 'Paused: nothing fails over or restarts by itself' }),
  parameters: Parameters,
  labels: Labels,
  /** Missing in clusters that are older than backups: then it is the default. */
  backup: Type.Optional(BackupPolicy),
})

export const ClusterCreate = Type.Object(
  {
    name: Type.String({ pattern: RESOURCE_NAME_PATTERN }),
    postgres_version: Type.Optional(Type.String({ pattern: '^[0-9]{1,2}$' })),
    instances: Type.Optional(Type.Integer({ minimum: 1, maximum: 5, default: 3 })),
    gateways: Type.Optional(Type.Integer({ minimum: 1, maximum: 3, default: 1 })),
    durability: Type.Optional(Durability),
    sensitivity: Type.Optional(Sensitivity),
    parameters: Type.Optional(Parameters),
    labels: Type.Optional(Labels),
    repository: Type.Optional(
      Type.String({
        maxLength: 64,
        description: 'Where it is backed up to; default: the default repository, if there is one',
      }),
    ),
  },
  { additionalProperties: false },
)
/**
 * PATCH changes what is given; PUT takes the whole of these. `parameters` is replaced as a whole.
 */
export const ClusterUpdate = Type.Object(
  {
    durability: Type.Optional(Durability),
    sensitivity: Type.Optional(Sensitivity),
    parameters: Type.Optional(Parameters),
    labels: Type.Optional(Labels),
  },
  { additionalProperties: false, minProperties: 1 },
)
export const ClusterReplace = Type.Object(
  { durability: Durability, parameters: Parameters, labels: Labels },
  { additionalProperties: false },
)
export const ClusterDelete = Type.Object(
  {
    confirm: Type.String({ maxLength: 64, description: 'The name of the cluster' }),
    purge: Type.Optional(
      Type.Boolean({ description: 'Remove the data at once: there is no undo', default: false }),
    ),
    keep_backups: Type.Optional(
      Type.Boolean({ description: 'With purge: keep its backups for as long as its policy says' }),
    ),
  },
  { additionalProperties: false },
)

export const CLUSTER_STATES = [
  'creating',
  'available',
  'degraded',
  'updating',
  'failed',
  'deleting',
  'deleted',
  'restoring',
] as const

/** Purposes: write and read are pooled (transaction mode); the direct ones are for sessions. */
export const Endpoint = Type.Object({
  purpose: Type.Enum(['write', 'read', 'write-direct', 'read-direct', 'stats']),
  gateway: Type.String(),
  address: Type.String(),
  port: Type.Integer(),
})

export const Instance = Type.Object({
  id: Type.String(),
  name: Type.String(),
  host: Type.String(),
  address: Type.String(),
  port: Type.Integer(),
  role: Type.String({ description: 'leader, sync-replica, replica or unknown' }),
  state: Type.String({
    description: "Patroni's word: running, starting, …; unknown without a report",
  }),
  streaming: Type.Boolean(),
  timeline: Type.Union([Type.Integer(), Type.Null()]),
  lag_bytes: Type.Union([Type.Integer(), Type.Null()]),
  pending_restart: Type.Boolean(),
  observed_at: Type.Union([Timestamp, Type.Null()]),
})

export const SizedParameter = Type.Object({
  name: Type.String(),
  value: Type.String(),
  source: Type.Enum(['sized', 'platform', 'user']),
  reason: Type.String(),
})

const Lsn = Type.Union([Type.String(), Type.Null()], { description: 'Bytes, decimal' })

/** What could be missing after a change of leader; `null`: not known yet. */
export const LossReceipt = Type.Object({
  from_lsn: Lsn,
  to_lsn: Lsn,
  bytes: Type.Union([Type.Integer(), Type.Null()], {
    description: 'WAL that the new leader did not have',
  }),
  acknowledged_bytes: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Of it, what clients may have been told to be committed: an upper bound',
  }),
  statement: Type.String(),
})

export const Failover = Type.Object({
  at: Timestamp,
  from: Type.String(),
  to: Type.String(),
  planned: Type.Boolean(),
  reason: Type.String(),
  gap_ms: Type.Union([Type.Integer(), Type.Null()], {
    description: 'The longest that a gateway had nobody to write to; null where no agent saw it',
  }),
  gateways: Type.Array(Type.String()),
  receipt: LossReceipt,
})

export const Readiness = Type.Object({
  ready: Type.Boolean({ description: 'Whether a failover would work now' }),
  checks: Type.Array(
    Type.Object({
      name: Type.String(),
      ok: Type.Boolean(),
      message: Type.String(),
      fix: Type.String({ description: 'What to do; empty when it is fine' }),
    }),
  ),
})

export const Cluster = Type.Object({
  id: Type.String(),
  name: Type.String(),
  state: Type.Enum([...CLUSTER_STATES]),
  message: Type.String({ description: 'One sentence: how it is, and what is missing' }),
  spec: ClusterSpec,
  version: Type.Integer({ description: 'Grows with each change of the spec; the ETag' }),
  endpoints: Type.Array(Endpoint),
  instances: Type.Array(Instance),
  parameters: Type.Array(SizedParameter),
  readiness: Readiness,
  last_failover: Type.Union([Failover, Type.Null()]),
  running_operation_id: Type.Union([Type.String(), Type.Null()]),
  created_at: Timestamp,
  deleted_at: Type.Union([Timestamp, Type.Null()]),
  purge_at: Type.Union([Timestamp, Type.Null()], {
    description: 'Until then a deleted cluster can be brought back',
  }),
})

const InstanceName = Type.String({ pattern: '^[a-z][a-z0-9-]{0,40}$' })
/** With `dry_run` nothing changes: the reply says what would happen now, or why it cannot. */
export const Switchover = Type.Object(
  {
    to: Type.Optional(InstanceName),
    at: Type.Optional(
      Type.String({ format: 'date-time', description: 'Not before; at most 30 days ahead' }),
    ),
    dry_run: Type.Optional(Type.Boolean()),
    within_seconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 86_400,
        description:
          'Waits at most so long for what is in the way: a long transaction, a lagging or ' +
          'missing replica. Without it that is refused',
      }),
    ),
  },
  { additionalProperties: false },
)
export const SwitchoverPlan = Type.Object({
  from: Type.String(),
  to: Type.String(),
  left_out: Type.Array(Type.Object({ name: Type.String(), reason: Type.String() }), {
    description: 'Gateways that could not hold their clients, whose transactions may fail',
  }),
})
export const FailoverRequest = Type.Object(
  {
    to: Type.Optional(InstanceName),
    accept_loss: Type.Optional(
      Type.Boolean({ description: 'Go on although acknowledged commits could be lost' }),
    ),
  },
  { additionalProperties: false },
)
export const Restart = Type.Object(
  {
    instance: Type.Optional(InstanceName),
    pending_only: Type.Optional(Type.Boolean({ description: 'Only instances that wait for one' })),
  },
  { additionalProperties: false },
)
export const Scale = Type.Object(
  {
    instances: Type.Integer({ minimum: 1, maximum: 5 }),
    remove: Type.Optional(
      Type.Array(InstanceName, {
        maxItems: 4,
        uniqueItems: true,
        description:
          'Which ones leave, when fewer are wanted or one is replaced; default: the last',
      }),
    ),
    source: Type.Optional(
      Type.Enum([...REPLICA_SOURCES], {
        description: 'What new ones are made from; default: what is faster',
      }),
    ),
  },
  { additionalProperties: false },
)

/** Shown once, in the reply that created them. */
export const Credentials = Type.Object({
  role: Type.String(),
  password: Type.String(),
  database: Type.Union([Type.String(), Type.Null()]),
})
export const ClusterAccepted = Type.Object({
  cluster: Cluster,
  operation: Operation,
  credentials: Type.Optional(Credentials),
})
export const ClusterCa = Type.Object({ pem: Type.String() })

export const ParameterEntry = Type.Object({
  name: Type.String(),
  type: Type.String(),
  minimum: Type.Optional(Type.Number()),
  maximum: Type.Optional(Type.Number()),
  unit: Type.Optional(Type.String()),
  values: Type.Optional(Type.Array(Type.String())),
  requires_restart: Type.Boolean(),
})

const PgName = Type.String({
  minLength: 1,
  maxLength: 63,
  description: 'Any characters except NUL, at most 63 bytes',
})
export const Database = Type.Object({
  name: Type.String(),
  owner: Type.String(),
  size_bytes: Type.Integer(),
  encoding: Type.String(),
})
export const DatabaseCreate = Type.Object(
  { name: PgName, owner: Type.Optional(PgName) },
  { additionalProperties: false },
)
export const Role = Type.Object({
  name: Type.String(),
  login: Type.Boolean(),
  connection_limit: Type.Integer({ description: '-1: none' }),
  member_of: Type.Array(Type.String()),
})
export const RoleCreate = Type.Object(
  {
    name: PgName,
    password: Type.Optional(
      Type.String({
        maxLength: 1024,
        description: 'Printable ASCII, 12 to 128; generated if left out',
      }),
    ),
    /** read: SELECT on everything in the database; write: DML too; none: what you grant. */
    access: Type.Optional(Type.Enum(['none', 'read', 'write'])),
    database: Type.Optional(PgName),
  },
  { additionalProperties: false },
)
export const RoleAccepted = Type.Object({
  operation: Operation,
  credentials: Type.Optional(Credentials),
})
export const OperationAccepted = Type.Object({ operation: Operation })

export type ClusterSpec = Static<typeof ClusterSpec>
export type ClusterCreate = Static<typeof ClusterCreate>
export type ClusterUpdate = Static<typeof ClusterUpdate>
export type ClusterDelete = Static<typeof ClusterDelete>
export type ClusterState = (typeof CLUSTER_STATES)[number]
export type Cluster = Static<typeof Cluster>
export type ClusterAccepted = Static<typeof ClusterAccepted>
export type SwitchoverPlan = Static<typeof SwitchoverPlan>
export type Failover = Static<typeof Failover>
export type Readiness = Static<typeof Readiness>
export type Credentials = Static<typeof Credentials>
export type Durability = Static<typeof Durability>
export type Endpoint = Static<typeof Endpoint>
export type Instance = Static<typeof Instance>
export type SizedParameter = Static<typeof SizedParameter>
export type ParameterEntry = Static<typeof ParameterEntry>
export type Database = Static<typeof Database>
export type Role = Static<typeof Role>
export type RoleAccepted = Static<typeof RoleAccepted>
export type OperationAccepted = Static<typeof OperationAccepted>
