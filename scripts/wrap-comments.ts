// Wraps comments that are longer than a line may be; biome formats code and leaves comments alone.
// Touches only blocks with a line that is too long, and no line that looks like a list, a table or
// a directive. Run by `npm run format`; the tidy test finds what it could not wrap.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTree } from '../test/tidy/rule.ts'
import { parseSource } from '../test/tidy/source.ts'

const WIDTH = 100
const LINE_COMMENT = /^(\s*)\/\/ ?(.*)$/
const DOC_ONE_LINE = /^(\s*)\/\*\* (.*) \*\/$/
const DOC_LINE = /^(\s*) \* ?(.*)$/
const KEEP_AS_IS = /^(?:\s{2,}|[-*|#>]\s|\d+\.\s|@|biome-ignore|eslint|<)|^$/

function wrap(words: string[], first: string, rest: string): string[] {
  const lines: string[] = []
  let line = first
  let empty = true
  for (const word of words) {
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = rest
      empty = true
    }
    line += ` ${word}`
    empty = false
  }
  return [...lines, line]
}

/** Wraps each run of prose lines that holds one that is too long. */
function wrapProse(texts: string[], prefix: string): string[] {
  const out: string[] = []
  let run: string[] = []
  const flush = () => {
    const long = run.some((text) => prefix.length + 1 + text.length > WIDTH)
    const words = run.join(' ').split(/\s+/)
    out.push(...(long ? wrap(words, prefix, prefix) : run.map((text) => `${prefix} ${text}`)))
    run = []
  }
  for (const text of texts) {
    if (!KEEP_AS_IS.test(text)) {
      run.push(text)
      continue
    }
    if (run.length > 0) flush()
    out.push(text === '' ? prefix : `${prefix} ${text}`)
  }
  if (run.length > 0) flush()
  return out
}

/** How many lines from `start` match `pattern` with the same indent and are comments. */
function blockAt(lines: string[], start: number, pattern: RegExp, indent: string): string[] {
  const texts: string[] = []
  for (let at = start; at < lines.length; at += 1) {
    const found = pattern.exec(lines[at] ?? '')
    if (found === null || found[1] !== indent || /^\s*\*\/$/.test(lines[at] ?? '')) break
    texts.push(found[2] ?? '')
  }
  return texts
}

export function wrapComments(path: string, text: string): string {
  const lines = text.split('\n')
  // What looks like a comment but is inside a template must stay as it is.
  const comments = parseSource(path, text).comments.split('\n')
  const out: string[] = []
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] as string
    const whole = comments[at] === line && line.trim() !== ''
    const pattern = [LINE_COMMENT, DOC_LINE].find(
      (each) => each.test(line) && !/\*\/\s*$/.test(line),
    )
    const oneLine = DOC_ONE_LINE.exec(line)
    if (whole && oneLine !== null && line.length > WIDTH) {
      const indent = oneLine[1] ?? ''
      const words = (oneLine[2] ?? '').split(/\s+/)
      out.push(`${indent}/**`, ...wrap(words, `${indent} *`, `${indent} *`), `${indent} */`)
      at += 1
    } else if (whole && pattern !== undefined) {
      const indent = pattern.exec(line)?.[1] ?? ''
      const block = blockAt(lines, at, pattern, indent)
      out.push(...wrapProse(block, pattern === LINE_COMMENT ? `${indent}//` : `${indent} *`))
      at += Math.max(1, block.length)
    } else {
      out.push(line)
      at += 1
    }
  }
  return out.join('\n')
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..')
  const folders = process.argv.slice(2)
  for (const [path, { text }] of readTree(root).sources) {
    if (folders.length > 0 && !folders.some((folder) => path.startsWith(folder))) continue
    const wrapped = wrapComments(path, text)
    if (wrapped !== text) writeFileSync(join(root, path), wrapped)
  }
}
