// howdah host list.
import type { Host } from '@howdah/core/contract/hosts.ts'
import type { Command } from 'commander'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { type Cell, formatAge, formatBytes, formatTable, type Paint, stateCell } from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'host')
    .command('list')
    .description('list hosts')
    .action(() => listHosts(context))
}

async function listHosts(context: Context): Promise<void> {
  const hosts = await context.client().list<Host>('/v1/hosts')
  const output = context.output()
  await output.print(hosts, () => formatHosts(output.paint, hosts))
}

function formatHosts(paint: Paint, hosts: Host[]): string[] {
  if (hosts.length === 0) return ['no hosts yet: howdah host create NAME --address ADDRESS']
  const rows = hosts.map((host): Cell[] => [
    host.name,
    stateCell(host.state),
    host.role,
    host.address,
    host.cpu_count === null ? '—' : String(host.cpu_count),
    formatBytes(host.memory_bytes),
    formatBytes(host.disk_free_bytes),
    host.postgres_versions.join(', ') || '—',
    `${host.services.filter((service) => service.ready).length}/${host.services.length}`,
    formatAge(host.seen_at),
  ])
  const header = [
    'NAME',
    'STATE',
    'ROLE',
    'ADDRESS',
    'CPUS',
    'MEMORY',
    'DISK FREE',
    'POSTGRES',
    'SERVICES',
    'SEEN',
  ]
  return formatTable(paint, header, rows)
}
