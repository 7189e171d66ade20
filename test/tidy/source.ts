// Owns reading TypeScript well enough for layout rules: what is code and what is comment or string,
// what a file imports, where its functions begin and end. A scanner of our own, because the
// compiler has no stable API and a rule must also run on a three-line sample. It needs no types.

export interface SourceFile {
  path: string
  text: string
  /** Same length as `text`; comments and the insides of strings and patterns are blank. */
  code: string
  /** Same length as `text`; only comments are kept. */
  comments: string
}

export interface FoundFunction {
  name: string
  line: number
  lineCount: number
}

export interface FoundImport {
  specifier: string
  line: number
}

type Kind = 'code' | 'comment' | 'literal'
interface Span {
  start: number
  end: number
  kind: Kind
}

const REGEX_AFTER_WORD =
  /(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield)$/
const REGEX_AFTER_SIGN = /[([{,=:!&|?;+\-*%<>~^}]$/

/** Whether a `/` after `before` starts a pattern; a division otherwise. */
function startsPattern(before: string): boolean {
  const trimmed = before.trimEnd()
  return trimmed === '' || REGEX_AFTER_SIGN.test(trimmed) || REGEX_AFTER_WORD.test(trimmed)
}

function endOfQuoted(text: string, start: number): number {
  const quote = text[start]
  let at = start + 1
  while (at < text.length && text[at] !== quote && text[at] !== '\n')
    at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function endOfPattern(text: string, start: number): number {
  let at = start + 1
  let inClass = false
  while (at < text.length && text[at] !== '\n' && (inClass || text[at] !== '/')) {
    if (text[at] === '[') inClass = true
    if (text[at] === ']') inClass = false
    at += text[at] === '\\' ? 2 : 1
  }
  while (/[a-z]/.test(text[at + 1] ?? '')) at += 1
  return at + 1
}

/** From just after a backtick or a closing `}` to just after the next backtick or `${`. */
function endOfTemplatePart(text: string, start: number): number {
  let at = start
  while (at < text.length) {
    if (text[at] === '`') return at + 1
    if (text[at] === '$' && text[at + 1] === '{') return at + 2
    at += text[at] === '\\' ? 2 : 1
  }
  return at
}

function endOfComment(text: string, start: number): number {
  const block = text[start + 1] === '*'
  const end = text.indexOf(block ? '*/' : '\n', start + 2)
  if (end === -1) return text.length
  return block ? end + 2 : end
}

/** Every comment and literal of `text`, in order; what lies between is code. */
function findSpans(text: string): Span[] {
  const spans: Span[] = []
  // One entry per open `${`: how many `{` are open inside it.
  const templates: number[] = []
  let at = 0
  let codeSoFar = ''
  const add = (kind: Kind, end: number) => {
    spans.push({ start: at, end: Math.min(end, text.length), kind })
    if (kind === 'literal') codeSoFar = text[end - 1] === '{' ? '{' : '"'
    at = end
  }
  while (at < text.length) {
    const char = text[at] as string
    const open = templates.at(-1)
    const next = text[at + 1]
    if (char === '/' && (next === '/' || next === '*')) {
      add('comment', endOfComment(text, at))
    } else if (char === "'" || char === '"') {
      add('literal', endOfQuoted(text, at))
    } else if (char === '`' || (char === '}' && open === 0)) {
      if (char === '}') templates.pop()
      const end = endOfTemplatePart(text, at + 1)
      if (text[end - 1] === '{') templates.push(0)
      add('literal', end)
    } else if (char === '/' && startsPattern(codeSoFar)) {
      add('literal', endOfPattern(text, at))
    } else {
      if (open !== undefined && char === '{') templates[templates.length - 1] = open + 1
      if (open !== undefined && char === '}') templates[templates.length - 1] = open - 1
      codeSoFar = codeSoFar.slice(-40) + char
      at += 1
    }
  }
  return spans
}

const blank = (text: string) => text.replace(/[^\n]/g, ' ')

/** A literal with its first and last character, so that `'…'` is still seen as one. */
function blankInside(text: string): string {
  if (text.length < 2) return text
  return `${text[0]}${blank(text.slice(1, -1))}${text.at(-1)}`
}

export function parseSource(path: string, text: string): SourceFile {
  let code = ''
  let comments = ''
  let at = 0
  for (const span of findSpans(text)) {
    const between = text.slice(at, span.start)
    const inside = text.slice(span.start, span.end)
    code += between + (span.kind === 'comment' ? blank(inside) : blankInside(inside))
    comments += blank(between) + (span.kind === 'comment' ? inside : blank(inside))
    at = span.end
  }
  const rest = text.slice(at)
  return { path, text, code: code + rest, comments: comments + blank(rest) }
}

export function lineAt(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1))
    line += 1
  return line
}

/** The same as `pattern.exec` in a loop, with lines. */
export function findAll(text: string, pattern: RegExp): { match: RegExpExecArray; line: number }[] {
  const global = new RegExp(pattern.source, `${pattern.flags.replace('g', '')}g`)
  return [...text.matchAll(global)].map((match) => ({ match, line: lineAt(text, match.index) }))
}

const IMPORT_FORMS = [
  /\b(?:import|export)\b[^;'"`]*?\bfrom\s*(?=['"])/,
  /\bimport\s*(?=['"])/,
  /\bimport\s*\(\s*(?=['"])/,
]

export function findImports(file: SourceFile): FoundImport[] {
  const found = IMPORT_FORMS.flatMap((form) => findAll(file.code, form)).map(({ match }) => {
    const start = match.index + match[0].length
    const specifier = file.text.slice(start + 1, endOfQuoted(file.text, start) - 1)
    return { specifier, line: lineAt(file.text, start) }
  })
  return found.sort((a, b) => a.line - b.line)
}

const CLOSING: Record<string, string> = { '(': ')', '{': '}', '[': ']', '<': '>' }

/** Offset of the bracket that closes the one at `start`; the end of the text when there is none. */
function findClosing(code: string, start: number): number {
  const opening = code[start] as string
  const closing = CLOSING[opening] as string
  let depth = 0
  for (let at = start; at < code.length; at += 1) {
    if (code[at] === opening) depth += 1
    else if (code[at] === closing && !(closing === '>' && code[at - 1] === '=')) depth -= 1
    if (depth === 0) return at
  }
  return code.length
}

/** From just after a parameter list: where the body's `{` is, or -1 when none follows. */
function findBody(code: string, start: number): number {
  let at = start
  let inType = false
  while (at < code.length) {
    const char = code[at] as string
    const before = code.slice(start, at).trimEnd()
    if (char === '{' && !/[:|&<,([=?]$|=>$|\b(?:is|extends)$/.test(before)) return at
    if (
      char === '\n' &&
      inType &&
      !/[|&:,]$|=>$/.test(before) &&
      !/^\s*[|&]/.test(code.slice(at))
    ) {
      return -1
    }
    if (char === ':' && before === '') inType = true
    else if (!inType && /\S/.test(char)) return -1
    else if (/[;)\]},]/.test(char) || (char === '=' && code[at + 1] !== '>')) return -1
    at = /[({[<]/.test(char) ? findClosing(code, at) + 1 : at + 1
  }
  return -1
}

const NOT_A_FUNCTION = /^(?:if|for|while|switch|catch|with|return|await|typeof)$/

function functionFrom(file: SourceFile, name: string, start: number, body: number): FoundFunction {
  const line = lineAt(file.code, start)
  const end = lineAt(file.code, findClosing(file.code, body))
  return { name, line, lineCount: end - line + 1 }
}

/** Declarations, methods and arrow functions with a body. A callback of `describe` is a group. */
export function findFunctions(file: SourceFile): FoundFunction[] {
  const found: FoundFunction[] = []
  const named = /(?:\bfunction\b\s*\*?\s*([\w$]*)|([#\w$]+))\s*(?:<[^(){}]*>)?\s*\(/
  for (const { match } of findAll(file.code, named)) {
    const name = match[1] ?? match[2] ?? ''
    if (NOT_A_FUNCTION.test(name)) continue
    const close = findClosing(file.code, match.index + match[0].length - 1)
    const body = findBody(file.code, close + 1)
    if (body !== -1) found.push(functionFrom(file, name || 'function', match.index, body))
  }
  for (const { match } of findAll(file.code, /=>\s*\{/)) {
    const before = file.code.slice(file.code.lastIndexOf('\n', match.index) + 1, match.index)
    if (/\b(?:describe|suite)\([^\n]*$/.test(before)) continue
    const declared = /(?:const|let)\s+([\w$]+)[^\n]*$/.exec(before)
    const body = match.index + match[0].length - 1
    found.push(functionFrom(file, declared?.[1] ?? 'arrow function', match.index, body))
  }
  return found
}
