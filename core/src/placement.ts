// Owns where a cluster's instances and gateways go and which ports they get. Pure: the caller reads
// what is taken and stores the answer in one transaction.
import type { HostRole } from './contract/hosts.ts'
import { HowdahError } from './errors.ts'

export interface PlacementHost {
  id: string
  name: string
  role: HostRole
  /** Instances and gateways of all clusters on it. */
  load: number
  /** Instances of this very cluster on it, when one is added to those it has. Default 0. */
  ownInstances?: number
  /** Whether an instance on it could archive while it leads. Default true. */
  canBackUp?: boolean
  takenPorts: ReadonlySet<number>
}

export interface PlacedInstance {
  number: number
  hostId: string
  postgresPort: number
  restPort: number
}

/**
 * Six ports that belong together; `stats` has a row of its own, as people know it as 8404, and
 * `pooler` is no endpoint: the pooler for writes goes to the leader there.
 */
export interface GatewayPorts {
  write: number
  read: number
  writeDirect: number
  readDirect: number
  pooler: number
  stats: number
}

export interface PlacedGateway {
  number: number
  hostId: string
  ports: GatewayPorts
}

const POSTGRES_PORT_FIRST = 5432
const REST_PORT_FIRST = 8008
const GATEWAY_PORT_FIRST = 5000
const STATS_PORT_FIRST = 8404
/** Ranges never meet: gateways 5000-5394, instances 5432-5631, stats 8404-8443, REST 8008-8207. */
const DOOR_PORT_FIRST = 8500
const INSTANCES_PER_HOST_MAX = 200
const GATEWAYS_PER_HOST_MAX = 40

/**
 * Spread over hosts of the wanted role first, the least loaded first; a host twice only when all
 * have one.
 */
function chooseHosts(
  hosts: readonly PlacementHost[],
  role: HostRole,
  count: number,
): PlacementHost[] {
  if (hosts.length === 0) throw new HowdahError('no-capacity', 'no host is online')
  const ordered = [...hosts].sort(
    (a, b) =>
      (a.ownInstances ?? 0) - (b.ownInstances ?? 0) ||
      (role === 'data' ? Number(b.canBackUp ?? true) - Number(a.canBackUp ?? true) : 0) ||
      Number(a.role !== role) - Number(b.role !== role) ||
      a.load - b.load ||
      a.name.localeCompare(b.name),
  )
  return Array.from(
    { length: count },
    (_, index) => ordered[index % ordered.length] as PlacementHost,
  )
}

function firstFree(
  taken: Set<number>,
  candidates: Iterable<number>,
  what: string,
  host: string,
): number {
  for (const port of candidates) {
    if (!taken.has(port)) {
      taken.add(port)
      return port
    }
  }
  throw new HowdahError('no-capacity', `host ${host} has no free port for ${what}`)
}

function* portsFrom(first: number, count: number): Iterable<number> {
  for (let offset = 0; offset < count; offset += 1) yield first + offset
}

/** For the time of a backup that runs beside a replica; 8500 to 8699. */
export function freeDoorPort(taken: ReadonlySet<number>, host: string): number {
  const candidates = portsFrom(DOOR_PORT_FIRST, INSTANCES_PER_HOST_MAX)
  return firstFree(new Set(taken), candidates, 'a backup', host)
}

function gatewayBlock(taken: Set<number>, host: string): GatewayPorts {
  for (let block = 0; block < GATEWAYS_PER_HOST_MAX; block += 1) {
    const first = GATEWAY_PORT_FIRST + block * 10
    const stats = STATS_PORT_FIRST + block
    const ports = {
      write: first,
      read: first + 1,
      writeDirect: first + 2,
      readDirect: first + 3,
      pooler: first + 4,
      stats,
    }
    const all = Object.values(ports)
    if (all.some((port) => taken.has(port))) continue
    for (const port of all) taken.add(port)
    return ports
  }
  throw new HowdahError('no-capacity', `host ${host} has no free port block for a gateway`)
}

/** The lowest numbers that are free: demo-2 that was removed is followed by another demo-2. */
function freeNumbers(taken: readonly number[], count: number): number[] {
  const numbers: number[] = []
  for (let number = 1; numbers.length < count; number += 1) {
    if (!taken.includes(number)) numbers.push(number)
  }
  return numbers
}

export function placeCluster(
  hosts: readonly PlacementHost[],
  wanted: { instances: number; gateways: number; takenNumbers?: readonly number[] },
): { instances: PlacedInstance[]; gateways: PlacedGateway[] } {
  const taken = new Map(hosts.map((host) => [host.id, new Set(host.takenPorts)]))
  const portsOf = (host: PlacementHost) => taken.get(host.id) as Set<number>
  if (wanted.gateways > hosts.length) {
    const said = `${wanted.gateways} gateways need as many hosts, ${hosts.length} are online`
    throw new HowdahError('no-capacity', said)
  }
  const numbers = freeNumbers(wanted.takenNumbers ?? [], wanted.instances)
  const instances = chooseHosts(hosts, 'data', wanted.instances).map((host, index) => ({
    number: numbers[index] as number,
    hostId: host.id,
    postgresPort: firstFree(
      portsOf(host),
      portsFrom(POSTGRES_PORT_FIRST, INSTANCES_PER_HOST_MAX),
      'PostgreSQL',
      host.name,
    ),
    restPort: firstFree(
      portsOf(host),
      portsFrom(REST_PORT_FIRST, INSTANCES_PER_HOST_MAX),
      'Patroni',
      host.name,
    ),
  }))
  const gateways = chooseHosts(hosts, 'gateway', wanted.gateways).map((host, index) => ({
    number: index + 1,
    hostId: host.id,
    ports: gatewayBlock(portsOf(host), host.name),
  }))
  return { instances, gateways }
}
