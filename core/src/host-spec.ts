// Owns the desired state of one host: what the control plane renders and an agent applies. An agent
// needs to know nothing about a service but this, so a new kind of service changes no agent.
import { type Static, Type } from 'typebox'

/** Programs an agent may run. A HostSpec names them; the agent alone maps a name to a path. */
export const PROGRAMS = ['etcd', 'patroni', 'haproxy', 'pgbouncer', 'pgbackrest'] as const

const Name = Type.String({ pattern: '^[a-z][a-z0-9_.-]{0,63}$' })
/**
 * A path below the host's root, without `..`; the agent checks again before it touches anything.
 */
export const RelativePath = Type.String({
  pattern: '^[a-z0-9_][A-Za-z0-9_.-]*(/[a-z0-9_][A-Za-z0-9_.-]*)*$',
  maxLength: 200,
})

/** A configuration file; 0600 and owned by the service user, as most of them hold a secret. */
export const HostFile = Type.Object(
  { path: RelativePath, content: Type.String({ maxLength: 262_144 }) },
  { additionalProperties: false },
)

/** How the agent learns whether a service does its work, beyond being a live process. */
export const Probe = Type.Union([
  Type.Object({ kind: Type.Literal('none') }),
  Type.Object({ kind: Type.Literal('tcp'), address: Type.String(), port: Type.Integer() }),
  Type.Object({
    kind: Type.Literal('etcd'),
    address: Type.String(),
    port: Type.Integer(),
    caPem: Type.String(),
  }),
  Type.Object({
    kind: Type.Literal('patroni'),
    address: Type.String(),
    port: Type.Integer(),
    caPem: Type.String(),
  }),
])

export const HostService = Type.Object(
  {
    name: Name,
    /** What the service is part of (`clu_…` or `dcs`), for logs and removal. */
    owner: Type.String({ maxLength: 64 }),
    program: Type.Enum([...PROGRAMS]),
    args: Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 64 }),
    /** The whole environment: nothing is inherited (DESIGN 11: libpq would read root's files). */
    env: Type.Record(Type.String({ pattern: '^[A-Z_][A-Z0-9_]*$' }), Type.String()),
    /**
     * A change of these files restarts the service, and so does another command line or
     * environment. With none it is never restarted for a change: an upgrade must not end the
     * sessions of every host at once.
     */
    restartOn: Type.Array(RelativePath),
    /** A change of these files sends `reloadSignal`. */
    reloadOn: Type.Array(RelativePath),
    reloadSignal: Type.Enum(['SIGHUP', 'SIGUSR2']),
    /** Asks for an orderly end; after `stopTimeoutMs` the agent sends SIGKILL. */
    stopSignal: Type.Enum(['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR1']),
    stopTimeoutMs: Type.Integer({ minimum: 100, maximum: 600_000 }),
    probe: Probe,
  },
  { additionalProperties: false },
)

/** UDP, on every host that has a part of a cluster. */
export const HEARTBEAT_PORT = 7402

/** An instance of a watched cluster, wherever it runs. */
const WatchedInstance = Type.Object({
  name: Type.String({ maxLength: 64 }),
  hostId: Type.String({ maxLength: 64 }),
  address: Type.String({ maxLength: 64 }),
  postgresPort: Type.Integer({ minimum: 1, maximum: 65_535 }),
  restPort: Type.Integer({ minimum: 1, maximum: 65_535 }),
})

/** A gateway of this host: the agent switches its HAProxy and holds its PgBouncers. */
const LocalGateway = Type.Object({
  id: Type.String({ maxLength: 64 }),
  name: Type.String({ maxLength: 64 }),
  /** HAProxy's runtime socket. */
  socket: RelativePath,
  address: Type.String({ maxLength: 64 }),
  writePort: Type.Integer({ minimum: 1, maximum: 65_535 }),
  readPort: Type.Integer({ minimum: 1, maximum: 65_535 }),
})

/** An instance of this host: the agent sees its postmaster die, and fences it. */
const LocalInstance = Type.Object({
  name: Type.String({ maxLength: 64 }),
  service: Name,
  dataDirectory: RelativePath,
  /** Directory of PostgreSQL's programs, as the agent reported it. */
  binDirectory: Type.String({ pattern: '^/[A-Za-z0-9_./-]+$', maxLength: 120 }),
  postgresPort: Type.Integer({ minimum: 1, maximum: 65_535 }),
})

/** How soon silence counts as death. Faster finds more failures, and more that are none. */
export const SENSITIVITIES = ['fast', 'balanced', 'patient'] as const

/**
 * A cluster that has something on this host. The agent watches it in the dcs and keeps its
 * endpoints pointing right, with or without a control plane.
 */
export const WatchedCluster = Type.Object(
  {
    id: Type.String({ maxLength: 64 }),
    durability: Type.Enum(['strict', 'sync', 'async']),
    sensitivity: Type.Enum([...SENSITIVITIES]),
    dcs: Type.Object({
      endpoints: Type.Array(Type.String({ pattern: '^https://' }), { minItems: 1, maxItems: 16 }),
      caPem: Type.String(),
      user: Type.String(),
      password: Type.String(),
      /** All keys of the cluster; its own user may touch nothing else. */
      prefix: Type.String({ pattern: '^/howdah/[a-z0-9_]+/$' }),
    }),
    caPem: Type.String(),
    probe: Type.Object({ user: Type.String(), password: Type.String() }),
    gatewayAdmin: Type.Object({ user: Type.String(), password: Type.String() }),
    /** Authenticates the heartbeats of the cluster's hosts to each other. */
    heartbeatKey: Type.String({ minLength: 16 }),
    /** Every host with an instance or a gateway of the cluster. */
    peers: Type.Array(
      Type.Object({
        hostId: Type.String({ maxLength: 64 }),
        address: Type.String({ maxLength: 64 }),
      }),
      { maxItems: 16 },
    ),
    instances: Type.Array(WatchedInstance, { maxItems: 16 }),
    localGateways: Type.Array(LocalGateway, { maxItems: 16 }),
    localInstances: Type.Array(LocalInstance, { maxItems: 16 }),
  },
  { additionalProperties: false },
)

/** One line for people: a control character could break out of the message that it stands in. */
const Line = Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$', maxLength: 300 })

/**
 * Ports of a gateway that is closed for a while: the agent listens there itself, and tells whoever
 * connects why, as PostgreSQL would. The certificate is the one that the gateway's services have.
 */
export const Refusal = Type.Object(
  {
    address: Type.String({ maxLength: 64 }),
    ports: Type.Array(Type.Integer({ minimum: 1024, maximum: 65_535 }), {
      minItems: 1,
      maxItems: 8,
    }),
    certificatePem: Type.String({ maxLength: 16_384 }),
    keyPem: Type.String({ maxLength: 16_384 }),
    message: Line,
    hint: Line,
  },
  { additionalProperties: false },
)

export const HostSpec = Type.Object(
  {
    /** Grows with every change; an agent never applies a spec older than the one it has. */
    revision: Type.Integer({ minimum: 0 }),
    hostId: Type.String(),
    /** Made 0700 for the service user if missing; never removed by applying a spec. */
    directories: Type.Array(RelativePath),
    files: Type.Array(HostFile),
    services: Type.Array(HostService),
    /**
     * Optional, as every field that comes later must be: an agent keeps the spec of an older
     * control plane.
     */
    clusters: Type.Optional(Type.Array(WatchedCluster, { maxItems: 1000 })),
    refusals: Type.Optional(Type.Array(Refusal, { maxItems: 200 })),
  },
  { additionalProperties: false },
)

export type HostSpec = Static<typeof HostSpec>
export type HostService = Static<typeof HostService>
export type HostFile = Static<typeof HostFile>
export type Refusal = Static<typeof Refusal>
export type WatchedCluster = Static<typeof WatchedCluster>
export type Sensitivity = (typeof SENSITIVITIES)[number]
export type Probe = Static<typeof Probe>
export type Program = (typeof PROGRAMS)[number]

/** Where things are below a host's root. Services write only to `data/`, `run/` and `log/`. */
export const HOST_LAYOUT = {
  /** Identity, last spec and task results: the agent's own, 0700, unreadable for services. */
  agent: 'agent',
  /** s6 scan directory. */
  services: 'services',
  /** Rendered files, `config/<service>/…`. */
  config: 'config',
  /** Data directories, `data/<instance or member>`. */
  data: 'data',
  /** Sockets; kept short, as a unix socket's path has at most 107 bytes. */
  run: 'run',
  /** s6-log directories, `log/<service>`. */
  log: 'log',
  /** Files that programs of tasks read while they run; made and removed by the agent. */
  tasks: 'tasks',
  /** The agent's own sockets that services connect to. */
  agentRun: 'agent-run',
} as const

/** Where Patronis ask the agent whether they may go. */
export const LEAVING_SOCKET = `${HOST_LAYOUT.agentRun}/leaving.sock`

/** What a data directory's name is followed by in that of the mark that it is not whole. */
export const UNFINISHED_MARK = '.unfinished'

/** In that of the file that says how far its WAL went before it was rewound, or copied anew. */
export const KEPT_END = '.ended'
