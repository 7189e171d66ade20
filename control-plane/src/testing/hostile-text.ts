// Owns texts that have broken parsers before, and a generator that mixes them: for tests that send
// them through quoting, files and protocols and want to find them again unchanged.
import fc from 'fast-check'

/**
 * What ends a string, a line, a section or a comment somewhere, or means something to some parser.
 */
export const HOSTILE_PIECES: readonly string[] = [
  ...['"', "'", '`', '\\', '$$', '$do$', '$1', ';', '--', '/*', '*/', '#', '%', '%include', '%s'],
  ...['\n', '\r', '\r\n', '\t', '\v', '\f', '\b', '\u001b[31m', '\u007f', ' ', '  ', '=', ',', '|'],
  ...[
    '[section]',
    '{{x}}',
    '$\u007bx}',
    '{',
    '}',
    '!!python/object:x',
    '&a',
    '*a',
    '<<: *a',
    ': ',
    '- ',
  ],
  ...['---', '...', '? ', '@', '~', 'null', 'true', 'on', '0x1f', '1e3', '12:30', '.inf', 'NaN'],
  ...[
    '../',
    '/etc/passwd',
    '//',
    '..',
    '.',
    '-rf',
    '--help',
    '<script>',
    '&amp;',
    '?',
    '%00',
    '%2e',
  ],
  ...[
    'é',
    'e\u0301',
    '\u202eabc',
    '\u200f',
    '\u2028',
    '\u2029',
    '\u0085',
    '\u00a0',
    '\ufeff',
    '🐘',
  ],
  ...['𝔘', '\u200d', 'ß', 'İ', 'ﬀ', '\uffff', '__proto__', 'constructor', 'prototype', 'toString'],
  ...["'; drop table x; --", '"; create role x superuser; --', "' or '1'='1", '$(touch x)', '`id`'],
]

/**
 * Text without NUL and lone surrogates, at most `bytesMax` bytes of UTF-8, at least one character.
 */
export function hostileText(bytesMax: number): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { arbitrary: fc.constantFrom(...HOSTILE_PIECES), weight: 3 },
    { arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }), weight: 1 },
    { arbitrary: fc.constantFrom('a', 'b', 'app', 'A'), weight: 1 },
  )
  return fc
    .array(piece, { minLength: 1, maxLength: 8 })
    .map((pieces) => cut(pieces.join('').replaceAll('\0', ''), bytesMax))
    .filter((text) => text !== '' && text.isWellFormed())
}

/** As many whole characters as fit. */
function cut(text: string, bytesMax: number): string {
  let kept = ''
  let bytes = 0
  for (const character of text) {
    bytes += Buffer.byteLength(character)
    if (bytes > bytesMax) break
    kept += character
  }
  return kept
}
