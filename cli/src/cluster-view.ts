// Owns how a cluster is shown to people: its list row, its endpoints, and the page of `cluster
// show`.
import type { Cluster, Credentials, Endpoint, Instance } from '@howdah/core/contract/clusters.ts'
import {
  type Cell,
  formatAge,
  formatBytes,
  formatFields,
  formatHeading,
  formatTable,
  type Paint,
  stateCell,
} from './output.ts'
import { safeLine } from './safe-text.ts'

const PURPOSES: Record<Endpoint['purpose'], string> = {
  write: 'pooled, reaches the leader',
  read: 'pooled, balanced over replicas',
  'write-direct': 'a session on the leader: LISTEN, pg_dump, migrations',
  'read-direct': 'a session on a replica',
  stats: 'HAProxy statistics',
}

export function formatClusterList(paint: Paint, clusters: Cluster[]): string[] {
  if (clusters.length === 0) return ['no clusters yet: howdah cluster create demo']
  const rows = clusters.map((cluster): Cell[] => [
    cluster.name,
    stateCell(cluster.state),
    cluster.spec.postgres_version,
    `${countRunning(cluster)}/${cluster.spec.instances}`,
    cluster.spec.durability,
    formatWriteAddress(cluster),
    formatAge(cluster.created_at),
    cluster.message,
  ])
  const header = ['NAME', 'STATE', 'POSTGRES', 'INSTANCES', 'DURABILITY', 'WRITE', 'CREATED', '']
  return formatTable(paint, header, rows)
}

/** Would a failover work now, and how the last change of leader went. */
function formatReadiness(paint: Paint, cluster: Cluster): string[] {
  const { readiness, last_failover: last } = cluster
  const problems = readiness.checks.filter((check) => !check.ok)
  const verdict: Cell = readiness.ready
    ? { text: 'a failover would work now', style: 'green' }
    : { text: 'a failover would not work now', style: 'yellow' }
  const fields: [string, Cell][] = [['readiness', verdict]]
  for (const check of problems) {
    fields.push([`  ${check.name}`, check.message])
    fields.push(['', check.fix])
  }
  if (last !== null) {
    const kind = last.planned ? 'switchover' : 'failover'
    const gap = last.gap_ms === null ? 'nobody saw for how long' : `${last.gap_ms} ms`
    const when = `${last.from} to ${last.to}, ${formatAge(last.at)}, ${gap}`
    fields.push([`last ${kind}`, when])
    fields.push(['', last.reason])
    fields.push(['  lost', last.receipt.statement])
  }
  return [...formatHeading(paint, 'Failover'), ...formatFields(paint, fields)]
}

export function formatEndpoints(paint: Paint, cluster: Cluster): string[] {
  if (cluster.endpoints.length === 0) return ['none yet']
  const rows = cluster.endpoints.map((endpoint): Cell[] => [
    endpoint.purpose,
    `${endpoint.address}:${endpoint.port}`,
    endpoint.gateway,
    PURPOSES[endpoint.purpose] ?? '',
  ])
  return formatTable(paint, ['ENDPOINT', 'ADDRESS', 'GATEWAY', ''], rows)
}

export function formatCluster(paint: Paint, cluster: Cluster): string[] {
  const { spec } = cluster
  const labels = Object.entries(spec.labels).map(([key, value]) => `${key}=${value}`)
  const fields: [string, Cell][] = [
    ['cluster', cluster.name],
    ['id', cluster.id],
    ['state', stateCell(cluster.state)],
    ['', cluster.message],
    ['PostgreSQL', spec.postgres_version],
    ['durability', `${spec.durability}, ${spec.sensitivity} failover`],
    ['created', `${cluster.created_at} (${formatAge(cluster.created_at)})`],
    ['version', String(cluster.version)],
  ]
  if (labels.length > 0) fields.push(['labels', labels.join(', ')])
  if (cluster.deleted_at !== null) {
    fields.push(['deleted', formatAge(cluster.deleted_at)])
    fields.push(['undo until', cluster.purge_at ?? 'no undo'])
  }
  if (cluster.running_operation_id !== null) {
    fields.push(['operation', { text: cluster.running_operation_id, style: 'yellow' }])
    fields.push(['', `howdah op watch ${cluster.running_operation_id}`])
  }
  return [
    ...formatFields(
      paint,
      fields.filter(([name, value]) => name !== '' || value !== ''),
    ),
    ...formatHeading(paint, 'Instances'),
    ...formatInstances(paint, cluster.instances),
    ...formatReadiness(paint, cluster),
    ...formatHeading(paint, 'Endpoints'),
    ...formatEndpoints(paint, cluster),
    ...formatHeading(paint, 'Parameters'),
    ...formatParameters(paint, cluster),
  ]
}

function formatInstances(paint: Paint, instances: Instance[]): string[] {
  if (instances.length === 0) return ['none yet']
  const rows = instances.map((instance): Cell[] => [
    instance.name,
    instance.role === 'leader' ? { text: instance.role, style: 'bold' } : instance.role,
    stateCell(instance.state),
    instance.role === 'leader' ? '—' : formatBytes(instance.lag_bytes),
    instance.timeline === null ? '—' : String(instance.timeline),
    instance.host,
    `${instance.address}:${instance.port}`,
    instance.pending_restart ? 'restart pending' : '',
  ])
  const header = ['INSTANCE', 'ROLE', 'STATE', 'LAG', 'TIMELINE', 'HOST', 'ADDRESS', '']
  return formatTable(paint, header, rows)
}

function formatParameters(paint: Paint, cluster: Cluster): string[] {
  if (cluster.parameters.length === 0) return ['none yet']
  const rows = cluster.parameters.map((parameter): Cell[] => [
    parameter.name,
    parameter.value,
    parameter.source === 'user' ? { text: 'user', style: 'cyan' } : parameter.source,
    parameter.reason,
  ])
  return formatTable(paint, ['PARAMETER', 'VALUE', 'SOURCE', 'WHY'], rows)
}

/** Says the password in a form that cannot be overlooked: it is not shown again. */
export function formatCredentials(paint: Paint, credentials: Credentials): string[] {
  const fields: [string, Cell][] = [
    ['role', credentials.role],
    ['password', { text: credentials.password, style: 'bold' }],
  ]
  if (credentials.database !== null) fields.push(['database', credentials.database])
  return [...formatFields(paint, fields), paint('dim', 'The password is shown this once.')]
}

export function formatNextSteps(paint: Paint, name: string): string[] {
  return [
    ...formatHeading(paint, 'Next'),
    `  howdah psql ${safeLine(name)}`,
    `  howdah uri ${safeLine(name)}`,
    `  howdah cluster show ${safeLine(name)}`,
  ]
}

function countRunning(cluster: Cluster): number {
  const isServing = (state: string) => state === 'running' || state === 'streaming'
  return cluster.instances.filter((instance) => isServing(instance.state)).length
}

function formatWriteAddress(cluster: Cluster): string {
  const write = cluster.endpoints.find((endpoint) => endpoint.purpose === 'write')
  return write === undefined ? '—' : `${write.address}:${write.port}`
}
