// Owns what a person is told about the end of a platform.
import type { StopReport } from './stop-platform.ts'

export function describeStop(report: StopReport): string[] {
  if (report.found === 0) return ['nothing was running']
  const lines = report.forced.map((name) => `${name} did not end by itself and was ended`)
  if (report.left.length === 0) return [...lines, `stopped: ${report.found} processes, none left`]
  const left = report.left.map((process) => `${process.program} (pid ${process.pid})`)
  return [...lines, `STILL RUNNING: ${left.join(', ')}`]
}
