// Owns repositories, backups, their policy and what is restored from them, as the API takes and
// shows it.
import { type Static, Type } from 'typebox'
import { BackupInfo } from '../backup-info.ts'
import { RESOURCE_NAME_PATTERN } from '../names.ts'
import { ClusterAccepted } from './clusters.ts'
import { ResourceRef, Timestamp } from './resource.ts'

const Path = Type.String({
  pattern: '^(/(?!\\.{1,2}(/|$))[A-Za-z0-9_.-]+)+$',
  maxLength: 200,
  description: 'Absolute; the same storage on every host',
})
const Dns = Type.String({
  pattern: '^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$',
  description: 'A name, without scheme or port',
})
const S3 = {
  endpoint: Dns,
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  bucket: Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$' }),
  region: Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
  uri_style: Type.Enum(['host', 'path']),
  prefix: Type.String({
    pattern: '^([A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)?$',
    maxLength: 200,
  }),
  allow_private: Type.Boolean({
    description: 'The endpoint may be in a private network; only an administrator may say so',
  }),
}
const Credential = Type.String({ pattern: '^[!-~]{1,256}$' })
const CaPem = Type.String({
  pattern: '^-----BEGIN CERTIFICATE-----[\\sA-Za-z0-9+/=-]+$',
  maxLength: 32_768,
})
const Name = Type.String({ pattern: RESOURCE_NAME_PATTERN })
const Default = Type.Boolean({ description: 'Where new clusters are backed up to' })

export const RepositoryCreate = Type.Union([
  Type.Object(
    {
      name: Name,
      kind: Type.Literal('directory'),
      path: Path,
      default: Type.Optional(Default),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      name: Name,
      kind: Type.Literal('s3'),
      endpoint: S3.endpoint,
      port: Type.Optional(S3.port),
      bucket: S3.bucket,
      region: Type.Optional(S3.region),
      uri_style: Type.Optional(S3.uri_style),
      prefix: Type.Optional(S3.prefix),
      allow_private: Type.Optional(S3.allow_private),
      key: Credential,
      secret: Credential,
      ca_pem: Type.Optional(CaPem),
      default: Type.Optional(Default),
    },
    { additionalProperties: false },
  ),
])

/** What stays away stays as it is; where a repository is never changes. */
export const RepositoryUpdate = Type.Object(
  {
    key: Type.Optional(Credential),
    secret: Type.Optional(Credential),
    ca_pem: Type.Optional(Type.Union([CaPem, Type.Null()])),
    default: Type.Optional(Default),
  },
  { additionalProperties: false },
)

/** Neither key nor secret are ever shown. */
export const Repository = Type.Object({
  id: Type.String(),
  name: Type.String(),
  kind: Type.Enum(['directory', 's3']),
  location: Type.String({ description: 'For people: where it is' }),
  default: Type.Boolean(),
  clusters: Type.Integer({ description: 'That have backups in it, deleted ones too' }),
  version: Type.Integer({ description: 'Grows with each change; the ETag' }),
  created_at: Timestamp,
})

export const BACKUP_TYPES = ['full', 'differential', 'incremental'] as const
export const BackupType = Type.Enum([...BACKUP_TYPES])

export const RepositoryChange = Type.Object(
  { repository: Type.String({ maxLength: 64, description: 'Name or id' }) },
  { additionalProperties: false },
)

export const Backup = Type.Object({
  id: Type.String(),
  label: Type.String(),
  cluster_id: Type.String(),
  repository_id: Type.String(),
  repository: Type.String({ description: 'Name of the repository that it is in' }),
  type: BackupType,
  info: BackupInfo,
  started_at: Timestamp,
  stopped_at: Timestamp,
  proven_at: Type.Union([Timestamp, Type.Null()], {
    description: 'When it was last restored and checked; null: unproven',
  }),
  proven_ms: Type.Union([Type.Integer(), Type.Null()]),
  damage: Type.String({ description: 'What was found wrong with it; empty: nothing' }),
})

export const BackupCreate = Type.Object(
  {
    type: Type.Optional(BackupType),
    throttle_bytes_per_second: Type.Optional(
      Type.Integer({
        minimum: 1_000_000,
        maximum: 1_000_000_000_000,
        description: 'Read no faster than this; default: as fast as it goes',
      }),
    ),
  },
  { additionalProperties: false },
)

const Lsn = Type.String({ pattern: '^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$', maxLength: 17 })
export const RestorePointName = Type.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$' })
const target = {
  at: Type.Optional(
    Type.String({
      format: 'date-time',
      maxLength: 40,
      description: 'The last transaction that is kept was committed at or before this time',
    }),
  ),
  lsn: Type.Optional(Lsn),
  xid: Type.Optional(Type.String({ pattern: '^[0-9]{1,19}$' })),
  restore_point: Type.Optional(RestorePointName),
  backup: Type.Optional(
    Type.String({
      maxLength: 64,
      description: 'Its end, and nothing after; alone, or as the start',
    }),
  ),
}

export const ForkRequest = Type.Object(
  {
    name: Name,
    ...target,
    instances: Type.Optional(Type.Integer({ minimum: 1, maximum: 5 })),
    plan: Type.Optional(Type.Boolean({ description: 'Only say what would be done' })),
  },
  { additionalProperties: false },
)
export const RestoreRequest = Type.Object(
  {
    ...target,
    confirm: Type.Optional(Type.String({ maxLength: 64, description: 'The name of the cluster' })),
    plan: Type.Optional(Type.Boolean({ description: 'Only say what would be done' })),
  },
  { additionalProperties: false },
)

export const RestorePlan = Type.Object({
  backup: Type.String({ description: 'Label of the backup that it begins with' }),
  repository: Type.String(),
  target: Type.String({ description: 'For people' }),
  wal_from: Type.String(),
  wal_to: Type.Union([Type.String(), Type.Null()]),
  wal_segments: Type.Integer({ description: 'At most this many are replayed' }),
  size_bytes: Type.Integer(),
  estimated_ms: Type.Union([Type.Integer(), Type.Null()], {
    description: 'From the restores before; null: there was none',
  }),
  accuracy: Type.String(),
})
export const ForkAccepted = ClusterAccepted

export const RestorePointCreate = Type.Object(
  { name: RestorePointName },
  { additionalProperties: false },
)
export const RestorePoint = Type.Object({ name: Type.String(), lsn: Type.String(), at: Timestamp })

const MaybeTime = Type.Union([Timestamp, Type.Null()])
const MaybeNumber = Type.Union([Type.Number(), Type.Null()])
export const BackupStatus = Type.Object({
  state: Type.Enum(['ok', 'unproven', 'behind', 'broken', 'none']),
  message: Type.String({ description: 'One sentence' }),
  repository: Type.Union([Type.String(), Type.Null()]),
  window: Type.Union(
    [
      Type.Object({
        from: Timestamp,
        to: Timestamp,
        lsn_from: Type.String(),
        lsn_to: Type.String(),
      }),
      Type.Null(),
    ],
    { description: 'What can be restored to, without a gap' },
  ),
  rpo_leader_bytes: MaybeNumber,
  rpo_cluster_bytes: Type.Union([Type.Number(), Type.Null()], {
    description: 'Written, and not in the repository yet',
  }),
  rpo_cluster_seconds: MaybeNumber,
  archive: Type.Object({
    last_segment: Type.Union([Type.String(), Type.Null()]),
    last_at: MaybeTime,
    failed_segment: Type.Union([Type.String(), Type.Null()]),
    failed_at: MaybeTime,
    waiting_segments: Type.Integer(),
    gaps: Type.Array(Type.String()),
  }),
  repository_bytes: Type.Object({
    backups: Type.Integer(),
    archive: Type.Integer(),
    per_day: MaybeNumber,
  }),
  newest_backup: Type.Union([Backup, Type.Null()]),
  newest_proven: Type.Union([Backup, Type.Null()]),
  next_runs: Type.Array(Type.Object({ kind: Type.String(), at: Timestamp })),
  checked_at: MaybeTime,
})

export const RepositoryRef = ResourceRef
export type RepositoryCreate = Static<typeof RepositoryCreate>
export type RepositoryUpdate = Static<typeof RepositoryUpdate>
export type Repository = Static<typeof Repository>
export type Backup = Static<typeof Backup>
export type ForkRequest = Static<typeof ForkRequest>
export type RestoreRequest = Static<typeof RestoreRequest>
export type RestorePlan = Static<typeof RestorePlan>
export type RestorePoint = Static<typeof RestorePoint>
export type BackupStatus = Static<typeof BackupStatus>
