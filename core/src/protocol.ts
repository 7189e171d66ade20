// Owns what control plane and agents say to each other: JSON over mTLS, agents always call. Both
// sides parse with these schemas, because each treats the other's input as hostile.
import { type Static, Type } from 'typebox'
import { BackupLabel } from './backup-info.ts'
import { Durability } from './contract/clusters.ts'
import { HostSpec, PROGRAMS, RelativePath } from './host-spec.ts'

/**
 * In every path (`/agent/v1/…`). A control plane serves the previous one for as long as agents use
 * it.
 */
export const PROTOCOL_PATH = '/agent/v1'
/** How long the control plane holds a `sync` open when it has nothing to say. */
export const SYNC_HOLD_MS = 25_000

export const HostFacts = Type.Object({
  agentVersion: Type.String(),
  os: Type.String(),
  cpuCount: Type.Integer({ minimum: 1 }),
  /** What clusters may use: a simulated host reports its share of the machine. */
  memoryBytes: Type.Integer({ minimum: 1 }),
  diskBytes: Type.Integer({ minimum: 0 }),
  diskFreeBytes: Type.Integer({ minimum: 0 }),
  /** Absolute; every rendered path starts with it. */
  root: Type.String({ pattern: '^/[A-Za-z0-9_./-]+$', maxLength: 80 }),
  /** The operating system user that services run as, and the one that the agent runs as. */
  serviceUser: Type.String({ pattern: '^[a-z_][a-z0-9_-]{0,31}$' }),
  agentUser: Type.String({ pattern: '^[a-z_][a-z0-9_-]{0,31}$' }),
  /** Version of each program that was found, e.g. `{ patroni: '3.0.2' }`. */
  programs: Type.Record(
    Type.String({ pattern: `^(${PROGRAMS.join('|')})$` }),
    Type.String({ maxLength: 64 }),
  ),
  /**
   * Directory of binaries per installed PostgreSQL major, e.g. `{ '15':
   * '/usr/lib/postgresql/15/bin' }`.
   */
  postgresql: Type.Record(
    Type.String({ pattern: '^[0-9]{1,2}$' }),
    Type.String({ pattern: '^/[A-Za-z0-9_./-]+$', maxLength: 120 }),
  ),
  /** For game days: the agent is root's, and the kernel filters packets for it. */
  cutsNetwork: Type.Optional(Type.Boolean()),
  /** Its agent knows `begin-switchover`. */
  beginsSwitchovers: Type.Optional(Type.Boolean()),
})

/** What an instance's Patroni says of itself; `null` where it does not know. */
export const PatroniStatus = Type.Object({
  /** Patroni's `role`: both vocabularies (`master`, `primary`) are mapped to `leader`. */
  role: Type.Enum(['leader', 'sync-replica', 'replica', 'unknown']),
  /** Patroni's `state`: running, starting, creating replica, stopped, … */
  state: Type.String({ maxLength: 64 }),
  /** A replica that receives WAL from its leader now. */
  streaming: Type.Boolean(),
  timeline: Type.Union([Type.Integer(), Type.Null()]),
  /**
   * Bytes of WAL written (leader) or replayed (replica), as a decimal string: it exceeds 2^53 in
   * theory.
   */
  walPosition: Type.Union([Type.String({ pattern: '^[0-9]{1,20}$' }), Type.Null()]),
  pendingRestart: Type.Boolean(),
  /** Patroni's `pause`, as this member knows it from the dcs. */
  paused: Type.Optional(Type.Boolean()),
  serverVersion: Type.Union([Type.Integer(), Type.Null()]),
  /** Names of streaming replicas that the leader sees, with PostgreSQL's sync_state. */
  replicas: Type.Array(
    Type.Object({
      name: Type.String({ maxLength: 64 }),
      state: Type.String({ maxLength: 64 }),
      syncState: Type.String({ maxLength: 64 }),
    }),
    { maxItems: 64 },
  ),
})

export const ServiceStatus = Type.Object({
  name: Type.String({ maxLength: 64 }),
  state: Type.Enum(['up', 'down']),
  /** The probe's verdict; without a probe, the same as up. */
  ready: Type.Boolean(),
  pid: Type.Union([Type.Integer(), Type.Null()]),
  /** Seconds since epoch at which the present process started. */
  sinceEpoch: Type.Union([
    // Up to the year 9999: beyond it there is no date to show.
    Type.Integer({ minimum: 0, maximum: 253_402_300_799 }),
    Type.Null(),
  ]),
  /** One sentence, for people. */
  message: Type.String({ maxLength: 500 }),
  patroni: Type.Optional(PatroniStatus),
})

const Connection = Type.Object({
  /** A unix socket directory, or an address. */
  host: Type.String(),
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  user: Type.String(),
  /** None over the unix socket: PostgreSQL knows the agent by its operating system user. */
  password: Type.Optional(Type.String()),
  database: Type.String(),
  /** Set over TCP: TLS with this CA; without it the connection is a unix socket. */
  caPem: Type.Optional(Type.String()),
})

const SqlStatement = Type.Object({
  /** May hold placeholders $1…; a statement with none may be several in one text. */
  text: Type.String({ maxLength: 65_536 }),
  params: Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()])),
})

const DcsAccess = Type.Object({
  endpoints: Type.Array(Type.String({ pattern: '^https://' }), { minItems: 1 }),
  caPem: Type.String(),
  user: Type.Optional(Type.String()),
  password: Type.Optional(Type.String()),
})

/** Looked up and checked by the agent each time, before anything connects. */
const RepositoryEndpoint = Type.Union([
  Type.Object({
    host: Type.String({ maxLength: 253 }),
    allowPrivate: Type.Boolean(),
  }),
  Type.Null(),
])

/** A repository of backups, as a task reaches it. */
const RepositoryAccess = Type.Object({
  /** The program's configuration, rendered for this host. */
  config: Type.String({ maxLength: 65_536 }),
  /** The authority of the endpoint, where it is none that the system trusts. */
  caPem: Type.Union([Type.String({ maxLength: 65_536 }), Type.Null()]),
  stanza: Type.String({ pattern: '^[a-z0-9_]{1,64}$' }),
  endpoint: RepositoryEndpoint,
  /** Of the second repository in `config`, if there is one. */
  second: Type.Optional(
    Type.Object({
      caPem: Type.Union([Type.String({ maxLength: 65_536 }), Type.Null()]),
      endpoint: RepositoryEndpoint,
    }),
  ),
})

export const PGBACKREST_COMMANDS = [
  'stanza-create',
  'info',
  'backup',
  'expire',
  'verify',
  'repo-ls',
  'repo-rm',
] as const

/**
 * `bytes`: null where they could not be counted. Agents of an earlier version tell nothing else.
 */
export const DataMeasure = Type.Object({
  exists: Type.Optional(Type.Boolean()),
  bytes: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
})
export type DataMeasure = Static<typeof DataMeasure>

/** What a place calls itself; chosen by whoever comes first. */
export const PLACE_PATTERN = '^[0-9a-f-]{36}$'

/** What a recovery reached. */
export const RecoveryReport = Type.Object({
  timeline: Type.Integer({ minimum: 1 }),
  lsn: Type.String({ pattern: '^[0-9A-F]{1,8}/[0-9A-F]{1,8}$' }),
  /** Of the last transaction that was replayed; null when there was none. */
  lastCommitAt: Type.Union([Type.String({ maxLength: 64 }), Type.Null()]),
  /** The whole archive was replayed: it holds nothing later than a target in time. */
  reachedEnd: Type.Boolean(),
  /**
   * Where WAL ended, on the timeline that was left there, and why in the words of the log; no words
   * where the archive has no more. Agents of an earlier version do not say.
   */
  end: Type.Optional(
    Type.Object({
      timeline: Type.Integer({ minimum: 1 }),
      lsn: Type.String({ pattern: '^[0-9A-F]{1,8}/[0-9A-F]{1,8}$' }),
      error: Type.String({ maxLength: 1000 }),
    }),
  ),
  replayMs: Type.Integer({ minimum: 0 }),
  rows: Type.Array(Type.Unknown(), { maxItems: 1000 }),
  /** What pg_amcheck found; null when it was not asked. */
  damage: Type.Union([Type.String({ maxLength: 4000 }), Type.Null()]),
  amcheckMs: Type.Integer({ minimum: 0 }),
})
export type RecoveryReport = Static<typeof RecoveryReport>

export const RECOVERY_TARGETS = ['latest', 'immediate', 'time', 'lsn', 'xid', 'name'] as const

export const PatroniAccess = Type.Object({
  address: Type.String(),
  port: Type.Integer(),
  caPem: Type.String(),
  user: Type.String(),
  password: Type.String(),
})
export type PatroniAccess = Static<typeof PatroniAccess>

/** What a task does. Every action is idempotent: doing it twice ends as doing it once. */
export const TaskAction = Type.Union([
  /** Runs statements one after the other, each in its own transaction; returns the rows of each. */
  Type.Object({
    kind: Type.Literal('sql'),
    connection: Connection,
    /** Refuse when the instance is in recovery: the leader moved since the task was made. */
    requireLeader: Type.Boolean(),
    statements: Type.Array(SqlStatement, { minItems: 1, maxItems: 200 }),
  }),
  /** Turns authentication on, with `root` and this password; done already counts as success. */
  Type.Object({
    kind: Type.Literal('dcs-enable-auth'),
    dcs: DcsAccess,
    rootPassword: Type.String(),
  }),
  /** A user and role of the same name that may read and write keys below `prefix`, nothing else. */
  Type.Object({
    kind: Type.Literal('dcs-ensure-user'),
    dcs: DcsAccess,
    user: Type.String(),
    password: Type.String(),
    prefix: Type.String({ pattern: '^/howdah/[a-z0-9_]+/$' }),
  }),
  /** Removes the user, its role and all keys below `prefix`. */
  Type.Object({
    kind: Type.Literal('dcs-remove-user'),
    dcs: DcsAccess,
    user: Type.String(),
    prefix: Type.String({ pattern: '^/howdah/[a-z0-9_]+/$' }),
  }),
  /** Calls the Patroni of this host. Returns `{ status, body }`; any HTTP status is a result. */
  Type.Object({
    kind: Type.Literal('patroni'),
    ...PatroniAccess.properties,
    method: Type.Enum(['GET', 'PATCH', 'POST']),
    path: Type.String({ pattern: '^/[a-z/]+$' }),
    body: Type.Unknown(),
  }),
  /**
   * Has the Patroni of the leader on this host begin a switchover, up to where it would stop
   * PostgreSQL: there it waits until all `gateways` are heard to hold their clients, or for
   * `end-switchover`, and stays when neither comes within 8 s. Returns a Begun.
   */
  Type.Object({
    kind: Type.Literal('begin-switchover'),
    clusterId: Type.String({ maxLength: 64 }),
    gateways: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 10 }),
    patroni: PatroniAccess,
    instance: Type.String({ maxLength: 64 }),
    candidate: Type.String({ maxLength: 64 }),
  }),
  /** Lets it go, and returns Patroni's `{ status, body }`; or has it stay as it was. */
  Type.Object({
    kind: Type.Literal('end-switchover'),
    instance: Type.String({ maxLength: 64 }),
    goes: Type.Boolean(),
  }),
  /**
   * Holds the clients of a gateway's write endpoint until another leader accepts writes, at most
   * `holdMsMax`; the agent lets go by itself, also when nobody asks it to. Returns a HoldReport.
   */
  Type.Object({
    kind: Type.Literal('gateway-hold'),
    gatewayId: Type.String(),
    pauseTimeoutMs: Type.Integer({ minimum: 100, maximum: 60_000 }),
    holdMsMax: Type.Integer({ minimum: 100, maximum: 120_000 }),
    operationId: Type.Optional(Type.String({ maxLength: 64 })),
  }),
  /**
   * Takes a replica out of the read endpoint and waits until its readers are gone, or puts it back.
   * It comes back by itself after `drainMsMax`, and when the agent restarts. Returns `{ sessions }`
   * that are left.
   */
  Type.Object({
    kind: Type.Literal('gateway-drain'),
    gatewayId: Type.String(),
    instance: Type.String({ maxLength: 64 }),
    drain: Type.Boolean(),
    waitMs: Type.Integer({ minimum: 0, maximum: 60_000 }),
    drainMsMax: Type.Integer({ minimum: 100, maximum: 600_000 }),
  }),
  /**
   * For drills: breaks something of this host that heals by itself. `service` is one of the applied
   * spec; a frozen or silenced thing goes on after `durationMs`, also when the agent that froze it
   * is gone.
   */
  Type.Object({
    kind: Type.Literal('inject-fault'),
    fault: Type.Enum([
      'kill-service',
      'kill-postmaster',
      'freeze-postmaster',
      'silence-host',
      'stop-host',
      'cut-network',
      'kill-agent',
    ]),
    service: Type.String({ maxLength: 64 }),
    durationMs: Type.Integer({ minimum: 1000, maximum: 120_000 }),
  }),
  /**
   * For drills: writes numbered rows, and counts what clients would have noticed. Returns a round
   * of a game day.
   */
  Type.Object({
    kind: Type.Literal('run-ledger'),
    run: Type.String({ maxLength: 100 }),
    durationMs: Type.Integer({ minimum: 1000, maximum: 300_000 }),
    user: Type.String(),
    password: Type.String(),
    caPem: Type.String(),
    endpoint: Type.Object({ address: Type.String(), port: Type.Integer() }),
    instances: Type.Array(Type.Object({ address: Type.String(), port: Type.Integer() })),
  }),
  /**
   * Lets go of the clients if they are held. Returns the HoldReport of the operation's last hold.
   */
  Type.Object({
    kind: Type.Literal('gateway-release'),
    gatewayId: Type.String(),
    operationId: Type.Optional(Type.String({ maxLength: 64 })),
  }),
  /**
   * Runs the backup program; the agent knows which commands and options may be. Returns `{ output
   * }`.
   */
  Type.Object({
    kind: Type.Literal('pgbackrest'),
    repository: RepositoryAccess,
    command: Type.Enum([...PGBACKREST_COMMANDS]),
    options: Type.Array(
      Type.String({ pattern: '^--[a-z0-9-]+(=[A-Za-z0-9_.:=-]+)?$', maxLength: 200 }),
      { maxItems: 16 },
    ),
    /** A path in the repository. */
    operands: Type.Array(Type.String({ pattern: '^[A-Za-z0-9_./-]*$', maxLength: 200 }), {
      maxItems: 1,
    }),
    /** The agent stops the program again and again so that it reads no faster than this. */
    readBytesPerSecondMax: Type.Optional(Type.Integer({ minimum: 1_000_000 })),
  }),
  /**
   * Writes, reads, lists and removes a small file in the repository, or says what failed. Returns
   * `{ place }`: what stands in the repository as its identity; `place` is written where nothing
   * does yet.
   */
  Type.Object({
    kind: Type.Literal('probe-repository'),
    repository: RepositoryAccess,
    place: Type.String({ pattern: PLACE_PATTERN }),
  }),
  /**
   * Archives segments that the repository lacks, as far as they are here and whole. Returns `{
   * pushed }`, their names.
   */
  Type.Object({
    kind: Type.Literal('push-segments'),
    repository: RepositoryAccess,
    dataDirectory: RelativePath,
    segments: Type.Array(Type.String({ pattern: '^[0-9A-F]{24}$' }), { maxItems: 64 }),
  }),
  /** Counts as archived from now on, without being so. Returns `{ left }`: whether it waited. */
  Type.Object({
    kind: Type.Literal('leave-segment'),
    dataDirectory: RelativePath,
    segment: Type.String({ pattern: '^[0-9A-F]{24}$' }),
  }),
  /** What WAL the repository holds. Returns an ArchiveInventory. */
  Type.Object({
    kind: Type.Literal('list-archive'),
    repository: RepositoryAccess,
    /** The repository's directory of one PostgreSQL major. */
    archiveId: Type.String({ pattern: '^[0-9]{1,2}-[0-9]{1,3}$' }),
    /** Of these alone; agents of an earlier version list all. */
    directories: Type.Optional(
      Type.Array(Type.String({ pattern: '^[0-9A-F]{16}$' }), { maxItems: 64 }),
    ),
  }),
  /** Replaces `dataDirectory` by a backup that waits for its recovery. */
  Type.Object({
    kind: Type.Literal('restore-data'),
    repository: RepositoryAccess,
    dataDirectory: RelativePath,
    label: BackupLabel,
  }),
  /**
   * Replays WAL into a restored directory up to the target, alone and unreachable from outside,
   * runs the statements and stops. Archives nothing itself: what the instance must archive of it is
   * marked. Where an earlier run was cut short, the backup is restored again first. Returns a
   * RecoveryReport.
   */
  Type.Object({
    kind: Type.Literal('recover-data'),
    repository: RepositoryAccess,
    dataDirectory: RelativePath,
    label: Type.Optional(BackupLabel),
    binDirectory: Type.String({ pattern: '^/[A-Za-z0-9_./-]+$', maxLength: 120 }),
    superuser: Type.String(),
    /** Only names its socket: nobody listens. */
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    target: Type.Object({
      kind: Type.Enum([...RECOVERY_TARGETS]),
      value: Type.String({ pattern: '^[A-Za-z0-9_.:/+ -]*$', maxLength: 64 }),
    }),
    statements: Type.Array(SqlStatement, { maxItems: 200 }),
    /** Have every relation looked through for damage. */
    amcheck: Type.Boolean(),
    /**
     * Stop at the target and stay a replica, on the timeline that it has: nothing is run, and
     * nothing returned.
     */
    replica: Type.Optional(Type.Boolean()),
  }),
  /** Whether a path of `data` is there, and how much is below it. Returns a DataMeasure. */
  Type.Object({ kind: Type.Literal('measure-data'), path: RelativePath }),
  /** Renames below `data`; done already counts as success. Refused while the spec uses either. */
  Type.Object({ kind: Type.Literal('move-data'), from: RelativePath, to: RelativePath }),
  /** Removes `data/<name>` for good. Refused while a service of the applied spec uses it. */
  Type.Object({ kind: Type.Literal('remove-data'), path: RelativePath }),
])

export const Task = Type.Object({
  id: Type.String({ pattern: '^tsk_[a-z0-9]{26}$' }),
  /** The agent ends the task as failed after this. */
  timeoutMs: Type.Integer({ minimum: 100, maximum: 86_400_000 }),
  action: TaskAction,
})

export const TaskResult = Type.Object({
  id: Type.String({ pattern: '^tsk_[a-z0-9]{26}$' }),
  ok: Type.Boolean(),
  /** What a successful action returns; at most 1 MiB of JSON. */
  value: Type.Unknown(),
  /** Empty when ok. Never holds a secret: it is shown to people. */
  error: Type.String({ maxLength: 4000 }),
  /** PostgreSQL's SQLSTATE or etcd's error, for the caller to branch on; empty if there is none. */
  errorCode: Type.String({ maxLength: 64 }),
})

export const EnrolRequest = Type.Object({
  token: Type.String({ maxLength: 200 }),
  csrPem: Type.String({ maxLength: 16_384 }),
})
export const EnrolReply = Type.Object({
  hostId: Type.String(),
  certificatePem: Type.String(),
  caPem: Type.String(),
})
export const RenewRequest = Type.Object({ csrPem: Type.String({ maxLength: 16_384 }) })
export const RenewReply = Type.Object({ certificatePem: Type.String(), caPem: Type.String() })

/** Held open until there is a newer spec, a task, or SYNC_HOLD_MS have passed. */
export const SyncRequest = Type.Object({
  /** Of the spec on the agent's disk, applied or being applied; -1 for none. */
  heldRevision: Type.Integer({ minimum: -1 }),
  facts: HostFacts,
  /** Tasks that the agent knows, running or finished: they are not sent again. */
  knownTasks: Type.Array(Type.String(), { maxItems: 1000 }),
})
export const SyncReply = Type.Object({
  spec: Type.Optional(HostSpec),
  tasks: Type.Array(Task),
  /** Nobody wants them any more: they are ended, and answered as such, until that is stored. */
  withdrawn: Type.Optional(Type.Array(Type.String(), { maxItems: 1000 })),
})

/**
 * What an agent did or saw by itself while it guarded a cluster; kept on its disk until it is
 * stored, as the control plane may be away when it matters most.
 */
export const GuardEvent = Type.Object({
  id: Type.String({ pattern: '^[0-9a-f-]{36}$' }),
  clusterId: Type.String({ maxLength: 64 }),
  at: Type.String({ format: 'date-time' }),
  kind: Type.Enum([
    /** The agent of the leader's host, or a majority of the others, found it dead or silent. */
    'leader-lost',
    /** A gateway points at another instance, which accepts writes. */
    'leader-changed',
    /** How far the WAL of an instance goes that led and was left behind, read from its disk. */
    'wal-end-read',
    /** A failover was asked for to an instance that may lack acknowledged commits. */
    'loss-accepted',
  ]),
  /** The instance that it is about: the lost one, the new leader, the former one. */
  instance: Type.String({ maxLength: 64 }),
  message: Type.String({ maxLength: 500 }),
  /**
   * leader-changed: since nobody could write through this gateway, where its agent saw it, and
   * whether clients were held on purpose.
   */
  gapMs: Type.Optional(Type.Integer({ minimum: 0 })),
  planned: Type.Optional(Type.Boolean()),
  /** The cluster's when it happened; added by the control plane where an agent does not say it. */
  durability: Type.Optional(Durability),
  from: Type.Optional(Type.String({ maxLength: 64 })),
  gateway: Type.Optional(Type.String({ maxLength: 64 })),
  /** leader-changed: the new timeline and where it began; wal-end-read: the end of an old one. */
  timeline: Type.Optional(Type.Integer({ minimum: 0 })),
  lsn: Type.Optional(Type.String({ pattern: '^[0-9]{1,20}$' })),
})

/** A host of a cluster whose heartbeats the sender of the report has not heard for seconds. */
export const Unheard = Type.Object({
  cluster: Type.String({ maxLength: 64 }),
  host: Type.String({ maxLength: 64 }),
})

/**
 * What came of the last canary through a gateway of the sender's host. Nothing is said of one from
 * which none is expected: nobody leads, its clients are held, or its cluster is paused.
 */
export const GatewayCanary = Type.Object({
  gatewayId: Type.String({ maxLength: 64 }),
  /** Since one was written, or since whoever leads does; 0 when the last one was. */
  silentMs: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  /** Why the last one was not; empty when it was. Never holds a secret. */
  error: Type.String({ maxLength: 300 }),
})

/** Sent at once when something changed, and every 10 s as a heartbeat. */
export const ReportRequest = Type.Object({
  /** The newest spec that is fully applied; -1 for none. */
  appliedRevision: Type.Integer({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER }),
  /** Why the newest spec is not applied yet; empty when it is. */
  applyError: Type.String({ maxLength: 4000 }),
  services: Type.Array(ServiceStatus, { maxItems: 500 }),
  results: Type.Array(TaskResult, { maxItems: 100 }),
  events: Type.Optional(Type.Array(GuardEvent, { maxItems: 200 })),
  unheard: Type.Optional(Type.Array(Unheard, { maxItems: 500 })),
  canaries: Type.Optional(Type.Array(GatewayCanary, { maxItems: 500 })),
})
/** Results and events that the control plane has stored; the agent may forget them. */
export const ReportReply = Type.Object({
  storedResults: Type.Array(Type.String()),
  storedEvents: Type.Optional(Type.Array(Type.String())),
})

export type RepositoryAccess = Static<typeof RepositoryAccess>
export type HostFacts = Static<typeof HostFacts>
export type PatroniStatus = Static<typeof PatroniStatus>
export type ServiceStatus = Static<typeof ServiceStatus>
export type GuardEvent = Static<typeof GuardEvent>
export type Unheard = Static<typeof Unheard>
export type GatewayCanary = Static<typeof GatewayCanary>
export type TaskAction = Static<typeof TaskAction>
export type Task = Static<typeof Task>
export type TaskResult = Static<typeof TaskResult>
export type EnrolRequest = Static<typeof EnrolRequest>
export type EnrolReply = Static<typeof EnrolReply>
export type SyncRequest = Static<typeof SyncRequest>
export type SyncReply = Static<typeof SyncReply>
export type ReportRequest = Static<typeof ReportRequest>
export type ReportReply = Static<typeof ReportReply>

/**
 * `hwd1.<secret>.<SHA-256 of the platform CA, hex>`: the digest lets an agent trust its first
 * connection.
 */
export const ENROLMENT_TOKEN_PATTERN = '^hwd1\\.[A-Za-z0-9_-]{43}\\.[0-9a-f]{64}$'
