// Owns the record of a run: JSON lines with the machine, every row, and the configuration of what
// was compared, so that a figure can be worked out again from what was seen. Rows are written as
// they come: a run that breaks keeps what it had.
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'

export type Row = Record<string, unknown> & { subject: string }

export interface Results {
  path: string
  /** Adds the time and the load average. Throws when the run is interrupted. */
  row(row: Row): void
  /** What is not a row: settings, a peer's configuration files. */
  note(kind: string, value: unknown): void
  /** A note that is shown, too; `of` where a bench has several. */
  summary(value: unknown, of?: string): void
  /** Of the rows of one subject, in order; rows without the field are left out. */
  numbers(subject: string, field: string): number[]
}

const RESULTS_DIRECTORY = join(import.meta.dirname, 'results')

/** `name` is the bench's; the file is named for it and for today. */
export function openResults(name: string, interruption: AbortSignal, path?: string): Results {
  const today = new Date().toISOString().slice(0, 10)
  const file = path ?? join(RESULTS_DIRECTORY, `${name}-${today}.jsonl`)
  mkdirSync(dirname(file), { recursive: true })
  const rows: Row[] = []
  const write = (value: object) => appendFileSync(file, `${JSON.stringify(value)}\n`)
  write({ kind: 'machine', bench: name, ...machineFacts() })
  return {
    path: file,
    row(row) {
      rows.push(row)
      write({ kind: 'row', at: new Date().toISOString(), load1: load1(), ...row })
      console.log(`${formatRow(row)}  load ${load1()}`)
      interruption.throwIfAborted()
    },
    note: (kind, value) => write({ kind, value }),
    summary(value, of) {
      write({ kind: of === undefined ? 'summary' : `summary of ${of}`, value })
      console.log(JSON.stringify(value, null, 2))
    },
    numbers: (subject, field) =>
      rows
        .filter((row) => row.subject === subject)
        .map((row) => row[field])
        .filter((value) => typeof value === 'number'),
  }
}

function load1(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100
}

function formatRow({ subject, ...fields }: Row): string {
  const said = Object.entries(fields)
    .filter(([, value]) => typeof value !== 'object')
    .map(([name, value]) => `${name} ${String(value)}`)
  return [subject.padEnd(14), ...said].join('  ')
}

function machineFacts() {
  const system = readFileSync('/etc/os-release', 'utf8').match(/^PRETTY_NAME="(.*)"$/m)?.[1]
  return {
    at: new Date().toISOString(),
    system,
    kernel: release(),
    architecture: arch(),
    processor: cpus()[0]?.model,
    processors: cpus().length,
    memoryBytes: totalmem(),
    load: loadavg(),
    runtime: process.version,
  }
}
