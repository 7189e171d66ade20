// Owns a peer's way in: one HAProxy that follows Patroni by health checks, and a PgBouncer beside
// each PostgreSQL. TLS is off unless asked for: then PgBouncer speaks it with the client and with
// PostgreSQL.
import { chown, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type BackgroundProcess, startProcess } from '../background-process.ts'
import {
  type PatroniCluster,
  PEER_SUBNET,
  type PeerInstance,
  type PeerPlace,
} from './patroni-cluster.ts'
import type { PeerSettings } from './peer-settings.ts'

export interface PeerGateway {
  address: string
  writePort: number
  /** All that run now. */
  processes(): BackgroundProcess[]
  /** The PgBouncer beside it anew, after it was killed. */
  restartPooler(instance: PeerInstance): void
  configuration: Record<string, string>
}

export interface PeerTls {
  certificateFile: string
  keyFile: string
  caFile: string
}

const WRITE_PORT = 5000
const READ_PORT = 5001
export const POOLER_PORT = 6432
const HAPROXY_OFFSET = 9
const POOLER_FILE = 'pgbouncer.ini'

export interface GatewayOptions {
  settings: PeerSettings
  cluster: PatroniCluster
  place: PeerPlace
  role: string
  password: string
  tls?: PeerTls
}

export async function startPeerGateway(options: GatewayOptions): Promise<PeerGateway> {
  const { settings, cluster, place } = options
  const address = `${PEER_SUBNET}.${settings.firstAddress + HAPROXY_OFFSET}`
  const { user } = place
  const write = async (path: string, text: string) => {
    await writeFile(path, text, { mode: 0o600 })
    await chown(path, user.uid, user.gid)
    return path
  }
  const poolers = new Map<string, BackgroundProcess>()
  const startPooler = ({ name, directory }: PeerInstance) => {
    const logFile = join(directory, 'pgbouncer.log')
    const args = [join(directory, POOLER_FILE)]
    poolers.set(name, startProcess('/usr/sbin/pgbouncer', args, { user, directory, logFile }))
  }
  let poolerFile = ''
  for (const instance of cluster.instances) {
    const { directory } = instance
    const users = join(directory, 'userlist.txt')
    await write(users, `"${options.role}" "${options.password}"\n`)
    poolerFile = renderPooler(instance, users, options)
    await write(join(directory, POOLER_FILE), poolerFile)
    startPooler(instance)
  }
  const { directory } = place
  const proxyFile = renderProxy(address, options)
  const path = await write(join(directory, 'haproxy.cfg'), proxyFile)
  const logFile = join(directory, 'haproxy.log')
  const proxy = startProcess('/usr/sbin/haproxy', ['-db', '-f', path], { user, directory, logFile })
  return {
    address,
    writePort: WRITE_PORT,
    processes: () => [...poolers.values(), proxy],
    restartPooler: startPooler,
    configuration: { 'haproxy.cfg': proxyFile, [POOLER_FILE]: poolerFile },
  }
}

function renderPooler(instance: PeerInstance, users: string, options: GatewayOptions): string {
  const { tls, settings } = options
  const encryption =
    tls === undefined
      ? []
      : [
          'client_tls_sslmode = require',
          `client_tls_cert_file = ${tls.certificateFile}`,
          `client_tls_key_file = ${tls.keyFile}`,
          'server_tls_sslmode = verify-ca',
          `server_tls_ca_file = ${tls.caFile}`,
        ]
  return [
    '[databases]',
    `* = host=${instance.address} port=5432`,
    '[pgbouncer]',
    `listen_addr = ${instance.address}`,
    `listen_port = ${POOLER_PORT}`,
    'unix_socket_dir =',
    'pool_mode = transaction',
    'max_client_conn = 1000',
    'auth_type = scram-sha-256',
    `auth_file = ${users}`,
    'ignore_startup_parameters = extra_float_digits',
    'log_connections = 0',
    'log_disconnections = 0',
    ...encryption,
    ...settings.pooler,
    '',
  ].join('\n')
}

function renderProxy(address: string, { cluster, settings }: GatewayOptions): string {
  const listen = (name: string, port: number, path: string) => [
    `listen ${name}`,
    `  bind ${address}:${port}`,
    `  option httpchk HEAD ${path}`,
    '  http-check expect status 200',
    `  default-server ${settings.checks}`,
    ...cluster.instances.map(
      (one) => `  server ${one.name} ${one.address}:${POOLER_PORT} maxconn 100 check port 8008`,
    ),
  ]
  return [
    'global',
    '  maxconn 2000',
    'defaults',
    '  mode tcp',
    '  retries 2',
    '  timeout client 30m',
    '  timeout connect 4s',
    '  timeout server 30m',
    '  timeout check 5s',
    ...listen('primary', WRITE_PORT, '/primary'),
    ...listen('replicas', READ_PORT, '/replica'),
    '',
  ].join('\n')
}
