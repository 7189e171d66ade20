// Owns the summary of many rounds: per fault and of all, with N beside every zero.
import type { RoundReport } from './round.ts'

export function formatSummary(reports: readonly RoundReport[]): string {
  const names = [...new Set(reports.map(({ fault }) => fault))].sort()
  const rows = [...names, undefined].map((name) => {
    const chosen = reports.filter(({ fault }) => name === undefined || fault === name)
    return rowOf(name ?? 'all', chosen)
  })
  const heads = ['fault', 'N', 'lost', 'overlap', 'gap p50', 'gap max', 'available', 'unknown']
  const table = [[...heads, 'failovers', 'whole max', 'problems'], ...rows]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => width(row, column))))
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const width = (row: readonly string[], column: number) => row[column]?.length ?? 0

function rowOf(name: string, reports: readonly RoundReport[]): string[] {
  const all = (value: (report: RoundReport) => number) => reports.map(value).sort((a, b) => a - b)
  const sum = (value: (report: RoundReport) => number) => all(value).reduce((a, b) => a + b, 0)
  const max = (value: (report: RoundReport) => number) => Math.max(0, ...all(value))
  const gaps = all(({ gapMs }) => gapMs)
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
  const available = sum(({ availability }) => availability) / Math.max(1, reports.length)
  return [
    name,
    String(reports.length),
    String(sum(({ lost }) => lost)),
    `${max(({ overlapMs }) => overlapMs).toFixed(0)} ms`,
    seconds(gaps[Math.floor((gaps.length - 1) / 2)] ?? 0),
    seconds(gaps.at(-1) ?? 0),
    `${(available * 100).toFixed(1)} %`,
    String(sum(({ unknown }) => unknown)),
    String(sum(({ failovers }) => failovers)),
    seconds(max(({ healthyMs }) => healthyMs)),
    String(sum(({ problems }) => problems.length)),
  ]
}
