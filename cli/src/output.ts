// Owns what commands print: data on stdout as a table, JSON or YAML; everything said along the way
// on stderr. Text from the platform passes through safe-text.ts here, so that no command can forget
// it.
import { styleText } from 'node:util'
import { escapeInQuotes, isUnsafe, safeLine, widthOf } from './safe-text.ts'

export const OUTPUT_FORMATS = ['table', 'json', 'yaml'] as const
export type OutputFormat = (typeof OUTPUT_FORMATS)[number]
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'
export type Paint = (style: Style, text: string) => string

/** Text from elsewhere, made safe when shown; with a style it is coloured on a terminal. */
export type Cell = string | { text: string; style: Style }

export interface Output {
  format: OutputFormat
  /** `value` for json and yaml, `lines` for people. */
  print(value: unknown, lines: () => string[]): Promise<void>
  /** One line for people, on stderr. */
  note(line: string): void
  /** For stdout: the text as it is where there is no colour. */
  paint: Paint
}

export interface OutputStreams {
  stdout: NodeJS.WritableStream
  stderr: NodeJS.WritableStream
}

export function makePaint(color: boolean): Paint {
  return (style, text) => (color ? styleText(style, text, { validateStream: false }) : text)
}

export function makeOutput(
  streams: OutputStreams,
  options: { format: OutputFormat; color: boolean },
): Output {
  return {
    format: options.format,
    paint: makePaint(options.color),
    note: (line) => void streams.stderr.write(`${line}\n`),
    print: async (value, lines) => {
      streams.stdout.write(await formatValue(options.format, value, lines))
    },
  }
}

async function formatValue(
  format: OutputFormat,
  value: unknown,
  lines: () => string[],
): Promise<string> {
  if (format === 'json') return `${formatJson(value)}\n`
  if (format === 'yaml') return formatYaml(value)
  return lines()
    .map((line) => `${line}\n`)
    .join('')
}

export function formatJson(value: unknown): string {
  return escapeInQuotes(JSON.stringify(value, null, 2) ?? 'null')
}

async function formatYaml(value: unknown): Promise<string> {
  const { Document, visit } = await import('yaml')
  const document = new Document(value, { aliasDuplicateObjects: false })
  visit(document, {
    Scalar: (_key, scalar) => {
      // Only a double-quoted scalar can hold escapes.
      if (typeof scalar.value === 'string' && isUnsafe(scalar.value)) scalar.type = 'QUOTE_DOUBLE'
    },
  })
  return escapeInQuotes(document.toString({ lineWidth: 0, doubleQuotedAsJSON: true }))
}

/** Columns are as wide as their widest cell; the last one is not padded. */
export function formatTable(paint: Paint, header: string[], rows: Cell[][]): string[] {
  const texts = rows.map((row) => row.map((cell) => safeLine(cellText(cell))))
  const widths = header.map((title, column) =>
    Math.max(widthOf(title), ...texts.map((row) => widthOf(row[column] ?? ''))),
  )
  const join = (cells: string[], plain: string[]) =>
    cells
      .map((cell, column) =>
        column === cells.length - 1 ? cell : cell + padding(plain[column] ?? '', widths[column]),
      )
      .join('  ')
      .trimEnd()
  const titles = header.map((title) => paint('dim', title))
  const body = rows.map((row, index) => {
    const plain = texts[index] ?? []
    return join(
      row.map((cell, column) => paintCell(paint, cell, plain[column] ?? '')),
      plain,
    )
  })
  return [join(titles, header), ...body]
}

/** `name  value` lines, for one thing. */
export function formatFields(paint: Paint, fields: [string, Cell][]): string[] {
  const width = Math.max(...fields.map(([name]) => widthOf(name)))
  return fields.map(([name, cell]) => {
    const shown = paintCell(paint, cell, safeLine(cellText(cell)))
    return `${paint('dim', name + padding(name, width))}  ${shown}`.trimEnd()
  })
}

export function formatHeading(paint: Paint, text: string): string[] {
  return ['', paint('bold', text)]
}

function cellText(cell: Cell): string {
  return String(typeof cell === 'object' && cell !== null ? cell.text : (cell ?? ''))
}

function paintCell(paint: Paint, cell: Cell, text: string): string {
  return typeof cell === 'object' && cell !== null ? paint(cell.style, text) : text
}

function padding(text: string, width = 0): string {
  return ' '.repeat(Math.max(0, width - widthOf(text)))
}

const STATE_STYLES: Record<string, Style> = {
  available: 'green',
  succeeded: 'green',
  online: 'green',
  running: 'green',
  up: 'green',
  creating: 'yellow',
  updating: 'yellow',
  degraded: 'yellow',
  pending: 'yellow',
  restoring: 'yellow',
  deleting: 'yellow',
  starting: 'yellow',
  cancelled: 'yellow',
  failed: 'red',
  offline: 'red',
  revoked: 'red',
  down: 'red',
  stopped: 'red',
  deleted: 'dim',
  skipped: 'dim',
}

export function stateCell(state: string): Cell {
  const style = STATE_STYLES[state]
  return style === undefined ? state : { text: state, style }
}

/** `1.5 GiB`; an em dash for what is not known. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return '—'
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  const rounded = unit === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1))
  return `${rounded} ${units[unit]}`
}

export function formatDuration(durationMs: number): string {
  if (!Number.isFinite(durationMs)) return '—'
  const seconds = Math.max(0, durationMs) / 1000
  if (seconds < 60) return `${seconds.toFixed(1)}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${Math.floor(seconds % 60)}s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`
  return `${Math.floor(seconds / 86_400)}d${Math.floor((seconds % 86_400) / 3600)}h`
}

export function formatAge(timestamp: string | null, nowMs: number = Date.now()): string {
  if (timestamp === null) return '—'
  const ageMs = nowMs - Date.parse(timestamp)
  if (!Number.isFinite(ageMs)) return timestamp
  return ageMs < 1000 ? 'now' : `${formatDuration(ageMs).replace(/\.\ds$/, 's')} ago`
}
