// Owns what `howdah up` prints when the platform runs: where things are, and what to try next.
import { relative, resolve } from 'node:path'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { PlatformLayout } from './layout.ts'

export interface UpSummary {
  home: string
  api: string
  docs: string
  clusters: {
    name: string
    state: string
    endpoints: { purpose: string; address: string; port: number }[]
  }[]
}

export function summarizeUp(layout: PlatformLayout, clusters: Cluster[]): UpSummary {
  return {
    home: layout.home,
    api: `${layout.apiUrl}/v1`,
    docs: `${layout.apiUrl}/docs`,
    clusters: clusters.map((cluster) => ({
      name: cluster.name,
      state: cluster.state,
      endpoints: cluster.endpoints.map(({ purpose, address, port }) => ({
        purpose,
        address,
        port,
      })),
    })),
  }
}

export function formatUpSummary(summary: UpSummary, directory: string): string[] {
  const lines = ['', `API        ${summary.api}`, `Reference  ${summary.docs}`]
  lines.push(`Data       ${summary.home}`)
  for (const cluster of summary.clusters) {
    lines.push('', `Cluster ${cluster.name} is ${cluster.state}`)
    for (const { purpose, address, port } of cluster.endpoints) {
      lines.push(`  ${purpose.padEnd(13)}${address}:${port}`)
    }
  }
  const command = launcher(directory)
  const name = summary.clusters[0]?.name
  const next =
    name === undefined
      ? ['cluster create demo', 'status', '--help']
      : [`psql ${name}`, `cluster show ${name}`, 'cluster create second']
  return [...lines, '', 'Try next:', ...next.map((words) => `  ${command} ${words}`)]
}

// As a person in `directory` would type it.
function launcher(directory: string): string {
  const path = relative(directory, resolve(import.meta.dirname, '../../../howdah'))
  if (path === 'howdah') return './howdah'
  return path.startsWith('../../../') ? 'howdah' : path
}
