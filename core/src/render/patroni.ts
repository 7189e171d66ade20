// Renders one instance: Patroni's configuration with PostgreSQL's TLS and pg_hba. What all
// instances must agree on (parameters, durability) lives in the dcs and is changed there by an
// operation; what is here is local to the host, or the same for every instance by construction
// (pg_hba from the host list).
import { stringify } from 'yaml'
import type { Durability } from '../contract/clusters.ts'
import { PATRONI_TIMING } from '../failover-rules.ts'
import type { HostFile, HostService } from '../host-spec.ts'
import { HOST_LAYOUT, LEAVING_SOCKET } from '../host-spec.ts'
import { INITDB_OPTIONS, spareDirectory } from '../spare-directory.ts'
import type { RenderedParts } from './etcd.ts'
import {
  authority,
  DCS_NAMESPACE,
  hostMask,
  PLATFORM_ROLES,
  type RenderCluster,
  type RenderDcs,
  type RenderHost,
  type RenderInstance,
} from './model.ts'
import { PATCHES_FILE, PATRONI_PATCHES } from './patroni-patches.ts'
import { type InstanceBackup, renderDoor, renderInstanceBackup } from './pgbackrest.ts'

const LAG_ON_FAILOVER_BYTES_MAX = 1_048_576
const STOP_TIMEOUT_S = 10

function durabilitySettings(durability: Durability): Record<string, boolean> {
  return {
    synchronous_mode: durability !== 'async',
    synchronous_mode_strict: durability === 'strict',
  }
}

/** The part of the configuration that lives in the dcs: the body of a PATCH /config, too. */
export function dynamicConfiguration(cluster: {
  spec: { durability: Durability; maintenance: boolean }
  parameters: readonly { name: string; value: string }[]
}): Record<string, unknown> {
  return {
    // Patroni >= 3.2 raises a smaller ttl to 20 silently; speed comes from the agents (DESIGN 6,
    // 11).
    ttl: PATRONI_TIMING.ttlSeconds,
    loop_wait: PATRONI_TIMING.loopWaitSeconds,
    retry_timeout: PATRONI_TIMING.retryTimeoutSeconds,
    maximum_lag_on_failover: LAG_ON_FAILOVER_BYTES_MAX,
    // Both names: Debian 12's Patroni 3.0.2 reads the older one, newer versions the other.
    master_start_timeout: 0,
    primary_start_timeout: 0,
    // In synchronous mode, a leader that does not stop by itself is killed: after a cut, Patroni
    // waited for one without a limit.
    master_stop_timeout: STOP_TIMEOUT_S,
    primary_stop_timeout: STOP_TIMEOUT_S,
    pause: cluster.spec.maintenance,
    ...durabilitySettings(cluster.spec.durability),
    postgresql: {
      use_pg_rewind: true,
      use_slots: true,
      parameters: Object.fromEntries(cluster.parameters.map(({ name, value }) => [name, value])),
    },
  }
}

function addressesOf(host: RenderHost): string[] {
  return [...new Set([host.address, ...host.sourceAddresses])].map(hostMask)
}

/**
 * The first matching line decides, so the platform's own roles are closed before `all` is opened.
 * From what is placed, not from what runs: a gateway that starts while the leader makes its
 * database would have Patroni write this anew at a moment at which it forgets to.
 */
export function renderHba(cluster: RenderCluster): string[] {
  const instanceHosts = cluster.placed.instances.map(({ host }) => host)
  const gatewayHosts = cluster.placed.gateways.map(({ host }) => host)
  const masks = (hosts: readonly RenderHost[]) => [...new Set(hosts.flatMap(addressesOf))]
  const { superuser, replication, rewind, pooler, gateway, probe } = PLATFORM_ROLES
  const from = (hosts: readonly RenderHost[], databases: string, role: string) =>
    masks(hosts).map((mask) => `hostssl ${databases} ${role} ${mask} scram-sha-256`)
  const closed = [superuser, replication, rewind, pooler, gateway, probe].join(',')
  return [
    `local all ${superuser} peer map=howdah`,
    'local all all reject',
    ...from(instanceHosts, 'replication', replication),
    ...from(instanceHosts, 'postgres', rewind),
    // Patroni looks at other instances as superuser before it lets itself be rewound.
    ...from(instanceHosts, 'postgres', superuser),
    ...from(gatewayHosts, 'all', pooler),
    ...from(gatewayHosts, 'postgres', probe),
    `host all ${closed} all reject`,
    'hostnossl all all all reject',
    'hostssl all all all scram-sha-256',
  ]
}

function postgresqlSettings(
  cluster: RenderCluster,
  instance: RenderInstance,
  config: string,
  backup: InstanceBackup,
) {
  const { root, serviceUser, agentUser, postgresql } = instance.host.facts
  const { secrets } = cluster
  const sslOptions = { sslmode: 'verify-ca', sslrootcert: `${root}/${config}/ca.crt` }
  const users = [...new Set([serviceUser, agentUser])]
  return {
    listen: authority(instance.host.address, instance.postgresPort),
    connect_address: authority(instance.host.address, instance.postgresPort),
    bin_dir: postgresql[cluster.spec.postgres_version],
    data_dir: `${root}/${HOST_LAYOUT.data}/${instance.id}/pgdata`,
    pgpass: `${root}/${HOST_LAYOUT.data}/${instance.id}/pgpass`,
    use_unix_socket: true,
    authentication: {
      superuser: { username: PLATFORM_ROLES.superuser, password: secrets.superuser, ...sslOptions },
      replication: {
        username: PLATFORM_ROLES.replication,
        password: secrets.replication,
        ...sslOptions,
      },
      rewind: { username: PLATFORM_ROLES.rewind, password: secrets.rewind, ...sslOptions },
    },
    // Without a fast checkpoint a new replica waits minutes for a spread one.
    basebackup: [{ checkpoint: 'fast' }],
    remove_data_directory_on_rewind_failure: true,
    remove_data_directory_on_diverged_timelines: true,
    // Not Patroni's: the patch keep_slots reads it.
    howdah_instances: cluster.placed.instances.map(({ name }) => name).sort(),
    parameters: {
      unix_socket_directories: `${root}/${HOST_LAYOUT.run}`,
      ssl_cert_file: `${root}/${config}/server.crt`,
      ssl_key_file: `${root}/${config}/server.key`,
      ssl_ca_file: `${root}/${config}/ca.crt`,
      logging_collector: 'off',
      ...backup.parameters,
    },
    pg_hba: renderHba(cluster),
    pg_ident: users.map((user) => `howdah ${user} ${PLATFORM_ROLES.superuser}`),
  }
}

function patroniSettings(
  cluster: RenderCluster,
  instance: RenderInstance,
  dcs: RenderDcs,
  config: string,
  backup: InstanceBackup,
) {
  const { root } = instance.host.facts
  const path = (name: string) => `${root}/${config}/${name}`
  const near = dcs.members.find((member) => member.host.id === instance.host.id)
  return {
    scope: cluster.id,
    namespace: DCS_NAMESPACE,
    name: instance.name,
    log: { level: 'INFO' },
    restapi: {
      listen: authority(instance.host.address, instance.restPort),
      connect_address: authority(instance.host.address, instance.restPort),
      certfile: path('server.crt'),
      keyfile: path('server.key'),
      cafile: path('ca.crt'),
      verify_client: 'none',
      authentication: { username: 'howdah', password: cluster.secrets.rest },
    },
    ctl: { cacert: path('ca.crt') },
    etcd3: {
      hosts: dcs.members.map((member) => authority(member.host.address, member.clientPort)),
      protocol: 'https',
      cacert: path('dcs-ca.crt'),
      username: cluster.id,
      password: cluster.secrets.dcs,
      // Not Patroni's: the patch stay_near reads it.
      howdah_near: near && `https://${authority(near.host.address, near.clientPort)}`,
    },
    bootstrap: {
      dcs: dynamicConfiguration(cluster),
      initdb: INITDB_OPTIONS.map(([name, value]) =>
        value === undefined ? name : { [name]: value },
      ),
      // Not Patroni's: the patch take_spare reads it.
      howdah_spare: `${root}/${spareDirectory(cluster.spec.postgres_version)}`,
    },
    postgresql: postgresqlSettings(cluster, instance, config, backup),
  }
}

/**
 * All text is in double quotes, so that what PyYAML refuses or folds (DEL, U+0085, U+2028) can be
 * escaped.
 */
function renderYaml(settings: unknown): string {
  const text = stringify(settings, {
    // PyYAML reads YAML 1.1, where a bare `on` or 12:30 is not a string.
    version: '1.1',
    defaultStringType: 'QUOTE_DOUBLE',
    defaultKeyType: 'PLAIN',
    lineWidth: 0,
    aliasDuplicateObjects: false,
  })
  return text.replace(/[^\n -~]/gu, (character) => {
    const digits = (character.codePointAt(0) as number).toString(16)
    return `\\U${digits.padStart(8, '0')}`
  })
}

export function renderPatroni(
  cluster: RenderCluster,
  instance: RenderInstance,
  dcs: RenderDcs,
): RenderedParts {
  const { root } = instance.host.facts
  const config = `${HOST_LAYOUT.config}/${instance.id}`
  const data = `${HOST_LAYOUT.data}/${instance.id}`
  const backup = renderInstanceBackup(cluster.backup, instance)
  const door = renderDoor(cluster.id, instance)
  const settings = patroniSettings(cluster, instance, dcs, config, backup)
  const files: HostFile[] = [
    {
      path: `${config}/patroni.yml`,
      content: renderYaml(settings),
    },
    { path: `${config}/python/${PATCHES_FILE}`, content: PATRONI_PATCHES },
    { path: `${config}/ca.crt`, content: cluster.caPem },
    { path: `${config}/dcs-ca.crt`, content: dcs.caPem },
    { path: `${config}/server.crt`, content: instance.tls.certificatePem },
    { path: `${config}/server.key`, content: instance.tls.keyPem },
  ]
  const service: HostService = {
    name: `patroni-${instance.id}`,
    owner: cluster.id,
    program: 'patroni',
    args: [`${root}/${config}/patroni.yml`],
    env: {
      PATH: '/usr/bin:/bin',
      // Not root's: libpq would read certificates and passwords from there (DESIGN 11).
      HOME: `${root}/${data}`,
      LANG: 'C.UTF-8',
      PYTHONUNBUFFERED: '1',
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONPATH: `${root}/${config}/python`,
      HOWDAH_LEAVING: `${root}/${LEAVING_SOCKET}`,
    },
    restartOn: [],
    reloadOn: files.map((file) => file.path).filter((path) => !path.endsWith(PATCHES_FILE)),
    reloadSignal: 'SIGHUP',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 60_000,
    probe: {
      kind: 'patroni',
      address: instance.host.address,
      port: instance.restPort,
      caPem: cluster.caPem,
    },
  }
  return {
    directories: [HOST_LAYOUT.data, HOST_LAYOUT.run, data, ...backup.directories],
    // Patroni does not read those of the backup: a change of them reloads nothing.
    files: [...files, ...backup.files, ...door.files],
    services: [service, ...door.services],
  }
}
