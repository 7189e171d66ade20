// Owns one fleet for tests of the renderers: four hosts, a dcs of three members and a cluster of
// three instances with a gateway. Everything is fixed, so that what is rendered from it can be
// compared byte by byte.
import type { ClusterSpec } from '../contract/clusters.ts'
import { parseParameters } from '../parameters.ts'
import { placeCluster } from '../placement.ts'
import type {
  RenderCluster,
  RenderDcs,
  RenderGateway,
  RenderHost,
  RenderInstance,
  TlsMaterial,
} from '../render/model.ts'
import { clusterParameters } from '../sizing.ts'

export interface SampleFleet {
  hosts: RenderHost[]
  dcs: RenderDcs
  cluster: RenderCluster
}

export interface SampleOptions {
  /** First three parts of the addresses. */
  subnet: string
  /** Absolute; host N has its root in `host-N` below it. */
  root: string
  /** Directory of PostgreSQL 15's programs. */
  binaries: string
  serviceUser: string
  agentUser: string
  spec: ClusterSpec
  /** Certificates: text that says what it stands for, unless a test needs real ones. */
  tls: (name: string) => TlsMaterial
}

const MIB = 1024 * 1024

export const SAMPLE_OPTIONS: SampleOptions = {
  subnet: '127.42.0',
  root: '/var/lib/howdah/hosts',
  binaries: '/usr/lib/postgresql/15/bin',
  serviceUser: 'postgres',
  agentUser: 'root',
  spec: {
    postgres_version: '15',
    instances: 3,
    gateways: 1,
    durability: 'sync',
    sensitivity: 'balanced',
    maintenance: false,
    parameters: { work_mem: '8MB', datestyle: 'ISO, DMY', jit: false },
    labels: {},
  },
  tls: (name) => ({
    caPem: 'the CA\n',
    certificatePem: `the certificate of ${name}\n`,
    keyPem: `the key of ${name}\n`,
  }),
}

const id = (prefix: string, number: number) => `${prefix}_${String(number).padStart(26, '0')}`

function sampleHost(options: SampleOptions, number: number): RenderHost {
  const name = `host-${number}`
  return {
    id: id('hst', number),
    name,
    address: `${options.subnet}.${number}`,
    sourceAddresses: ['127.0.0.1'],
    facts: {
      agentVersion: '0.1.0',
      os: 'Debian GNU/Linux 12',
      cpuCount: 2,
      memoryBytes: 2048 * MIB,
      diskBytes: 102_400 * MIB,
      diskFreeBytes: 51_200 * MIB,
      root: `${options.root}/${name}`,
      serviceUser: options.serviceUser,
      agentUser: options.agentUser,
      programs: { pgbackrest: '2.45' },
      postgresql: { '15': options.binaries },
    },
  }
}

function sampleDcs(options: SampleOptions, hosts: readonly RenderHost[]): RenderDcs {
  const members = hosts.slice(0, 3).map((host) => ({
    name: `etcd-${host.name}`,
    host,
    clientPort: 2379,
    peerPort: 2380,
    tls: options.tls(`etcd-${host.name}`),
  }))
  return { caPem: options.tls('dcs').caPem, members }
}

export function sampleFleet(change: Partial<SampleOptions> = {}): SampleFleet {
  const options = { ...SAMPLE_OPTIONS, ...change }
  const { spec } = options
  const hosts = [1, 2, 3, 4].map((number) => sampleHost(options, number))
  const byId = new Map(hosts.map((host) => [host.id, host]))
  const placed = placeCluster(
    hosts.map((host, index) => ({
      id: host.id,
      name: host.name,
      role: index === 3 ? ('gateway' as const) : ('data' as const),
      load: 0,
      takenPorts: new Set<number>(),
    })),
    spec,
  )
  const instances = placed.instances.map(({ number, hostId, ...ports }): RenderInstance => {
    const name = `demo-${number}`
    const host = byId.get(hostId) as RenderHost
    return { id: id('ins', number), name, host, ...ports, tls: options.tls(name) }
  })
  const gateways = placed.gateways.map(({ number, hostId, ports }): RenderGateway => {
    const name = `demo-gw-${number}`
    const host = byId.get(hostId) as RenderHost
    return { id: id('gwy', number), name, host, ports, tls: options.tls(name) }
  })
  const share = { memoryBytes: 512 * MIB, cpuCount: 2, diskBytes: 25_600 * MIB }
  const purposes = [
    'superuser',
    'replication',
    'rewind',
    'pooler',
    'gateway',
    'probe',
    'rest',
    'dcs',
    'heartbeat',
  ]
  const cluster: RenderCluster = {
    id: id('clu', 1),
    name: 'demo',
    spec,
    parameters: clusterParameters(share, parseParameters(spec.parameters)),
    caPem: options.tls('demo').caPem,
    secrets: Object.fromEntries(
      purposes.map((purpose) => [purpose, `password-of-${purpose}`]),
    ) as unknown as RenderCluster['secrets'],
    backup: {
      repositoryId: id('rep', 1),
      clusterId: id('clu', 1),
      storage: { kind: 'directory', path: '/var/lib/howdah/backups' },
      cipherPass: 'password-of-backups',
      queueBytesMax: 5120 * MIB,
    },
    placed: { instances, gateways },
    instances,
    gateways,
  }
  return { hosts, dcs: sampleDcs(options, hosts), cluster }
}
