// Renders a gateway: PgBouncer for writes and for reads, both in front of one HAProxy, which is the
// one switch. Its health checks follow Patroni here; they stay as the net under the event-driven
// switch.
import type { HostFile, HostService } from '../host-spec.ts'
import { HOST_LAYOUT } from '../host-spec.ts'
import type { RenderedParts } from './etcd.ts'
import { HAPROXY_WAIT, WAIT_MS_MAX } from './haproxy-wait.ts'
import { authority, PLATFORM_ROLES, type RenderCluster, type RenderGateway } from './model.ts'

/** A replica further behind gets no reads; Patroni answers 503 beyond it. */
const READ_LAG_BYTES_MAX = 16 * 1024 * 1024
/**
 * Slower than the agent on purpose: Patroni calls an instance the leader up to two seconds after it
 * accepts writes, and a former one for a moment longer than it does. Sooner, the net would undo
 * what the switch did.
 */
const LEADER_CHECK = 'fall 4 rise 3 on-marked-down shutdown-sessions'
/** The script ends its wait by itself: HAProxy complains in its log when it has to. */
const INSPECT_MS = WAIT_MS_MAX + 1000
const CLIENT_CONNECTIONS_MAX = 2000
/**
 * The pooler for writes logs in to an instance that has the leader key while it is still promoted:
 * this ends, and with it the login, when it writes. So no client of the pooler meets a replica, and
 * no login is left to be waited for. PgBouncer ignores what it returns, and an error, too: settings
 * of databases and roles must not end it. A loop in SQL, as a database may have no plpgsql. What
 * nobody waits for any more ends, as PostgreSQL looks whether its client is there. At most 500
 * bytes, as PgBouncer's buffer for it is small.
 */
export const WAIT_FOR_WRITES = [
  'set local statement_timeout=0;',
  "set local client_connection_check_interval='1s';",
  'set transaction isolation level read committed;',
  'with recursive look (standby) as (',
  'select pg_catalog.pg_is_in_recovery() union all',
  'select pg_catalog.pg_is_in_recovery() from look',
  'where standby and pg_catalog.pg_sleep(0.002) is not null',
  ') select 1 from look where not standby',
].join(' ')
/**
 * Such a login outlasts a slow promotion, as a hold of the agent does: a failed one costs clients.
 */
const LOGIN_SECONDS_MAX = 30
/** Connections that the pools leave to direct sessions, Patroni, replicas and people. */
const CONNECTIONS_RESERVED = 20
/** A pool is per database and role: a handful of busy ones must fit into max_connections. */
const BUSY_POOLS = 2

function maxConnections(cluster: RenderCluster): number {
  return Number(cluster.parameters.find(({ name }) => name === 'max_connections')?.value ?? '100')
}

function haproxyServers(cluster: RenderCluster): string[] {
  return cluster.instances.map((instance) => {
    const address = authority(instance.host.address, instance.postgresPort)
    const check = `check port ${instance.restPort}`
    return `  server ${instance.name} ${address} ${check}`
  })
}

function haproxyDefaults(gateway: RenderGateway): string[] {
  const { root } = gateway.host.facts
  const config = `${root}/${HOST_LAYOUT.config}/${gateway.id}`
  return [
    'global',
    `  stats socket ${root}/${HOST_LAYOUT.run}/${gateway.id}.sock mode 600 level admin`,
    `  maxconn ${CLIENT_CONNECTIONS_MAX * 2 + 1000}`,
    `  lua-load ${config}/haproxy.lua`,
    '  log stdout format raw local0 notice',
    'defaults',
    '  mode tcp',
    '  log global',
    '  timeout connect 2s',
    // A retry waits a second for the same dead server; the pooler tries again in 50 ms, wherever we
    // point by then.
    '  retries 0',
    '  timeout check 2s',
    '  timeout queue 30s',
    '  timeout client 24h',
    '  timeout server 24h',
    '  option clitcpka',
    '  option srvtcpka',
  ]
}

export function renderHaproxy(cluster: RenderCluster, gateway: RenderGateway): string {
  const { root } = gateway.host.facts
  const config = `${root}/${HOST_LAYOUT.config}/${gateway.id}`
  const bind = (port: number) => authority(gateway.host.address, port)
  const servers = haproxyServers(cluster)
  const frontend = (name: string, port: number, wait: string, isThere: string) => [
    `frontend ${name}`,
    `  bind ${bind(port)}`,
    `  tcp-request inspect-delay ${INSPECT_MS}ms`,
    `  tcp-request content lua.${wait}`,
    `  tcp-request content reject unless ${isThere}`,
  ]
  const check = (path: string, whenDown: string) => [
    '  option httpchk',
    `  http-check send meth OPTIONS uri ${path}`,
    '  http-check expect status 200',
    `  default-server check-ssl verify required ca-file ${config}/ca.crt inter 1s ${whenDown}`,
  ]
  return [
    ...haproxyDefaults(gateway),
    'listen stats',
    '  mode http',
    `  bind ${bind(gateway.ports.stats)} ssl crt ${config}/gateway.pem`,
    '  timeout client 30s',
    '  timeout server 30s',
    '  http-request use-service prometheus-exporter if { path /metrics }',
    '  stats enable',
    '  stats uri /',
    '  stats hide-version',
    ...frontend('write-direct', gateway.ports.writeDirect, 'await_leader', '{ nbsrv(write) eq 1 }'),
    '  default_backend write',
    ...frontend('pooler', gateway.ports.pooler, 'await_heir', '{ nbsrv(write) eq 1 }'),
    '  default_backend write',
    'backend write',
    ...check('/primary', LEADER_CHECK),
    ...servers,
    // Never connected to: the agent closes it between two leaders, by its state.
    'backend gate',
    '  server open 127.0.0.1:1',
    ...frontend(
      'read',
      gateway.ports.readDirect,
      'await_reader',
      '{ nbsrv(replicas) gt 0 } || { nbsrv(leader) eq 1 }',
    ),
    '  use_backend replicas if { nbsrv(replicas) gt 0 }',
    '  default_backend leader',
    'backend replicas',
    '  balance leastconn',
    // Readers of a replica that becomes the leader may finish: the agent hands them over.
    ...check(`/replica?lag=${READ_LAG_BYTES_MAX}`, 'fall 2 rise 1'),
    ...servers,
    // As `write` sees them: one check and one switch for both.
    'backend leader',
    '  default-server on-marked-down shutdown-sessions',
    ...cluster.instances.map(({ name, host, postgresPort }) => {
      return `  server ${name} ${authority(host.address, postgresPort)} track write/${name}`
    }),
    '',
  ].join('\n')
}

/** A quoted word of PgBouncer's auth_file. */
function userlistWord(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}

export function renderUserlist(cluster: RenderCluster): string {
  const { pooler, gateway } = PLATFORM_ROLES
  return [
    `${userlistWord(pooler)} ${userlistWord(cluster.secrets.pooler)}`,
    `${userlistWord(gateway)} ${userlistWord(cluster.secrets.gateway)}`,
    '',
  ].join('\n')
}

export function renderPgbouncer(
  cluster: RenderCluster,
  gateway: RenderGateway,
  purpose: 'write' | 'read',
): string {
  const { root } = gateway.host.facts
  const config = `${root}/${HOST_LAYOUT.config}/${gateway.id}`
  const target = purpose === 'write' ? gateway.ports.pooler : gateway.ports.readDirect
  const wait =
    purpose === 'write' ? ` connect_query='${WAIT_FOR_WRITES.replaceAll("'", "''")}'` : ''
  const connections = maxConnections(cluster) - CONNECTIONS_RESERVED
  const poolSize = Math.max(5, Math.floor(connections / (cluster.gateways.length * BUSY_POOLS)))
  return [
    '[databases]',
    `* = host=${gateway.host.address} port=${target} auth_user=${PLATFORM_ROLES.pooler}${wait}`,
    '[pgbouncer]',
    `listen_addr = ${gateway.host.address}`,
    `listen_port = ${gateway.ports[purpose]}`,
    'unix_socket_dir =',
    'pool_mode = transaction',
    `max_client_conn = ${CLIENT_CONNECTIONS_MAX}`,
    `default_pool_size = ${poolSize}`,
    `max_db_connections = ${Math.max(poolSize, connections)}`,
    'auth_type = scram-sha-256',
    `auth_file = ${config}/userlist.txt`,
    // Fully qualified, and the function pins its own search_path: a client's startup packet cannot
    // bend it.
    'auth_query = SELECT role_name, role_verifier FROM howdah.pooler_lookup($1)',
    `admin_users = ${PLATFORM_ROLES.gateway}`,
    'ignore_startup_parameters = extra_float_digits',
    // A leader that went away is tried again soon; the default of 15 s would outlast a failover.
    'server_login_retry = 0.05',
    `server_connect_timeout = ${purpose === 'write' ? LOGIN_SECONDS_MAX : 3}`,
    'query_wait_timeout = 60',
    'server_idle_timeout = 300',
    'server_lifetime = 3600',
    'tcp_keepalive = 1',
    'tcp_keepidle = 10',
    'tcp_keepintvl = 5',
    'tcp_keepcnt = 3',
    'client_tls_sslmode = require',
    `client_tls_cert_file = ${config}/gateway.crt`,
    `client_tls_key_file = ${config}/gateway.key`,
    'client_tls_protocols = secure',
    'server_tls_sslmode = verify-ca',
    `server_tls_ca_file = ${config}/ca.crt`,
    'server_tls_protocols = secure',
    'log_connections = 0',
    'log_disconnections = 0',
    'verbose = 0',
    '',
  ].join('\n')
}

function pgbouncerService(
  cluster: RenderCluster,
  gateway: RenderGateway,
  purpose: 'write' | 'read',
): HostService {
  const { root } = gateway.host.facts
  const config = `${HOST_LAYOUT.config}/${gateway.id}`
  return {
    name: `pgbouncer-${purpose}-${gateway.id}`,
    owner: cluster.id,
    program: 'pgbouncer',
    args: [`${root}/${config}/pgbouncer-${purpose}.ini`],
    env: { PATH: '/usr/bin:/bin', HOME: `${root}/${HOST_LAYOUT.run}`, LANG: 'C.UTF-8' },
    restartOn: [],
    reloadOn: [
      'ca.crt',
      'gateway.crt',
      'gateway.key',
      'userlist.txt',
      `pgbouncer-${purpose}.ini`,
    ].map((name) => `${config}/${name}`),
    reloadSignal: 'SIGHUP',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5000,
    probe: { kind: 'tcp', address: gateway.host.address, port: gateway.ports[purpose] },
  }
}

function haproxyService(cluster: RenderCluster, gateway: RenderGateway): HostService {
  const { root } = gateway.host.facts
  const config = `${HOST_LAYOUT.config}/${gateway.id}`
  return {
    name: `haproxy-${gateway.id}`,
    owner: cluster.id,
    program: 'haproxy',
    // -W: reloads on SIGUSR2 without closing the listeners; -db: stays in the foreground.
    args: ['-W', '-db', '-q', '-f', `${root}/${config}/haproxy.cfg`],
    env: { PATH: '/usr/bin:/bin', HOME: `${root}/${HOST_LAYOUT.run}`, LANG: 'C.UTF-8' },
    restartOn: [],
    reloadOn: ['haproxy.cfg', 'haproxy.lua', 'ca.crt', 'gateway.pem'].map(
      (name) => `${config}/${name}`,
    ),
    reloadSignal: 'SIGUSR2',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5000,
    // The pooler needs it.
    probe: { kind: 'tcp', address: gateway.host.address, port: gateway.ports.pooler },
  }
}

export function renderGateway(cluster: RenderCluster, gateway: RenderGateway): RenderedParts {
  const config = `${HOST_LAYOUT.config}/${gateway.id}`
  const { certificatePem, keyPem } = gateway.tls
  const file = (name: string, content: string): HostFile => ({ path: `${config}/${name}`, content })
  return {
    directories: [HOST_LAYOUT.run],
    files: [
      file('haproxy.cfg', renderHaproxy(cluster, gateway)),
      file('haproxy.lua', HAPROXY_WAIT),
      file('pgbouncer-write.ini', renderPgbouncer(cluster, gateway, 'write')),
      file('pgbouncer-read.ini', renderPgbouncer(cluster, gateway, 'read')),
      file('userlist.txt', renderUserlist(cluster)),
      file('ca.crt', cluster.caPem),
      file('gateway.crt', certificatePem),
      file('gateway.key', keyPem),
      file('gateway.pem', `${certificatePem}\n${keyPem}`),
    ],
    services: [
      haproxyService(cluster, gateway),
      pgbouncerService(cluster, gateway, 'write'),
      pgbouncerService(cluster, gateway, 'read'),
    ],
  }
}
