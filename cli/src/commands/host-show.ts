// howdah host show: a host with its programs and services.
import type { Host } from '@howdah/core/contract/hosts.ts'
import type { Command } from 'commander'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import {
  type Cell,
  formatAge,
  formatBytes,
  formatFields,
  formatHeading,
  formatTable,
  type Paint,
  stateCell,
} from '../output.ts'

export function register(program: Command, context: Context): void {
  commandGroup(program, 'host')
    .command('show')
    .description('show a host: its programs and services')
    .argument('<host>', 'name or id')
    .action((name: string) => showHost(context, name))
}

async function showHost(context: Context, name: string): Promise<void> {
  const host = await context.client().get<Host>(apiPath`/v1/hosts/${name}`)
  const output = context.output()
  await output.print(host, () => formatHost(output.paint, host))
}

function formatHost(paint: Paint, host: Host): string[] {
  const programs = Object.entries(host.programs).map(([name, version]) => `${name} ${version}`)
  const labels = Object.entries(host.labels).map(([key, value]) => `${key}=${value}`)
  return [
    ...formatFields(paint, [
      ['host', host.name],
      ['id', host.id],
      ['state', stateCell(host.state)],
      ['', host.message],
      ['role', host.role],
      ['address', host.address],
      ['CPUs', host.cpu_count === null ? '—' : String(host.cpu_count)],
      ['memory', formatBytes(host.memory_bytes)],
      ['disk free', formatBytes(host.disk_free_bytes)],
      ['PostgreSQL', host.postgres_versions.join(', ') || '—'],
      ['programs', programs.join(', ') || '—'],
      ['labels', labels.join(', ') || '—'],
      ['seen', formatAge(host.seen_at)],
    ]),
    ...formatHeading(paint, 'Services'),
    ...formatServices(paint, host),
  ]
}

function formatServices(paint: Paint, host: Host): string[] {
  if (host.services.length === 0) return ['none']
  const rows = host.services.map((service): Cell[] => [
    service.name,
    stateCell(service.state),
    service.ready ? 'ready' : { text: 'not ready', style: 'yellow' },
    service.pid === null ? '—' : String(service.pid),
    formatAge(service.since),
    service.message,
  ])
  return formatTable(paint, ['SERVICE', 'STATE', 'READY', 'PID', 'SINCE', ''], rows)
}
