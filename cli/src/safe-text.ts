// Owns making text from elsewhere harmless on a terminal: a hostile name must not move the cursor,
// change colours, retitle the window or reorder what a person reads.

// C0, DEL, C1 (where 0x9b starts a control sequence), bidirectional overrides, line separators,
// zero-width characters that hide text, and lone surrogates.
const UNSAFE = new RegExp(
  [
    '[\\u0000-\\u001f\\u007f-\\u009f]',
    '[\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060\\u2066-\\u2069\\ufeff]',
    '\\p{Cs}',
  ].join('|'),
  'gu',
)
const NAMED: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\x1b': '\\e' }

/** One line: control characters become visible escapes such as `\x07` or `\u{202e}`. */
export function safeLine(text: string): string {
  return text.replace(UNSAFE, (character) => NAMED[character] ?? escapeCharacter(character))
}

/** As safeLine, but line ends stay. */
export function safeLines(text: string): string {
  return text.split('\n').map(safeLine).join('\n')
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
}

/**
 * For text whose line ends are structure already (JSON, double-quoted YAML): `\uXXXX` in strings.
 */
export function escapeInQuotes(text: string): string {
  return text.replace(UNSAFE, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export function isUnsafe(text: string): boolean {
  return text.search(UNSAFE) >= 0
}

// Scripts whose characters take two columns, and pictures.
const WIDE = new RegExp(
  [
    '\\p{Script=Han}',
    '\\p{Script=Hiragana}',
    '\\p{Script=Katakana}',
    '\\p{Script=Hangul}',
    '\\p{Emoji_Presentation}',
    '[\\u3000-\\u303f\\uff01-\\uff60]',
  ].join('|'),
  'u',
)

/** Columns that a safe line takes on a terminal. */
export function widthOf(line: string): number {
  let width = 0
  for (const character of line) {
    if (/\p{Mn}|\p{Me}/u.test(character)) continue
    width += WIDE.test(character) ? 2 : 1
  }
  return width
}

/** Cuts a safe line to `width` columns; an ellipsis says that something is missing. */
export function fitWidth(line: string, width: number): string {
  if (widthOf(line) <= width) return line
  let kept = ''
  let used = 0
  for (const character of line) {
    const next = widthOf(character)
    if (used + next > width - 1) break
    kept += character
    used += next
  }
  return `${kept}…`
}
