// Owns where the parts of an embedded platform are: paths below its home, addresses and ports.

import { join } from 'node:path'
import type { HostRole } from '@howdah/core/contract/hosts.ts'
import { AGENT_PORT, API_PORT } from '@howdah/core/contract/resource.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'

export interface HostPlace {
  name: string
  address: string
  role: HostRole
  root: string
  /** s6 scan directory. */
  services: string
  /** The agent's own directory. */
  agent: string
  enrolmentTokenFile: string
  agentLog: string
}

export interface PlatformLayout {
  home: string
  platform: string
  settingsFile: string
  lockFile: string
  masterKeyFile: string
  adminTokenFile: string
  caFile: string
  dbDirectory: string
  runDirectory: string
  /** s6 scan directory of the platform's own parts. */
  services: string
  log: string
  compileCache: string
  cliFile: string
  clusters: string
  /** The default repository; the service user's. */
  backups: string
  controlPlaneAddress: string
  apiUrl: string
  agentsUrl: string
  databaseUrl: string
  hosts: HostPlace[]
}

// The host in the query wins: a URL cannot hold the path of a socket where its host stands.
const DATABASE_URL = 'postgresql://howdah@localhost:5432/howdah'

export const HOSTS_MAX = 16
export const SERVICE_DB = 'platform-db'
export const SERVICE_CONTROL_PLANE = 'control-plane'
export const SERVICE_AGENT = 'agent'

export function platformLayout(home: string, subnet: string, hostCount: number): PlatformLayout {
  const platform = join(home, 'platform')
  const address = `${subnet}.100`
  const runDirectory = join(platform, 'run')
  return {
    home,
    platform,
    settingsFile: join(platform, 'settings.json'),
    lockFile: join(platform, 'up.lock'),
    masterKeyFile: join(platform, 'master.key'),
    adminTokenFile: join(platform, 'admin-token'),
    caFile: join(platform, 'ca.pem'),
    dbDirectory: join(platform, 'pg'),
    runDirectory,
    services: join(platform, 'services'),
    log: join(platform, 'log'),
    compileCache: join(platform, 'cache'),
    cliFile: join(home, 'cli.json'),
    clusters: join(home, 'clusters'),
    backups: join(home, 'backups'),
    controlPlaneAddress: address,
    apiUrl: `https://${address}:${API_PORT}`,
    agentsUrl: `https://${address}:${AGENT_PORT}`,
    databaseUrl: `${DATABASE_URL}?host=${encodeURIComponent(runDirectory)}`,
    hosts: Array.from({ length: hostCount }, (_, index) =>
      hostPlace(home, subnet, index + 1, hostCount),
    ),
  }
}

function hostPlace(home: string, subnet: string, number: number, hostCount: number): HostPlace {
  const name = `host-${number}`
  const root = join(home, 'hosts', name)
  const agent = join(root, HOST_LAYOUT.agent)
  // The fourth is the gateway host; a smaller platform gives its last host that role.
  const isGateway = number > 1 && number === Math.min(4, hostCount)
  return {
    name,
    address: `${subnet}.${number}`,
    role: isGateway ? 'gateway' : 'data',
    root,
    services: join(root, HOST_LAYOUT.services),
    agent,
    enrolmentTokenFile: join(agent, 'enrolment-token'),
    // Not in the host's log directory: the service user owns that one, and the agent may run as
    // root.
    agentLog: join(agent, 'log'),
  }
}

/** The data hosts that get an etcd member: three, or one where there are fewer than three. */
export function dcsHosts(layout: PlatformLayout): string[] {
  const data = layout.hosts.filter((host) => host.role === 'data').map((host) => host.name)
  return data.slice(0, data.length >= 3 ? 3 : 1)
}
