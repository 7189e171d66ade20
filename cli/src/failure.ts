// Owns how a failure ends the CLI: what is said on stderr, and the exit code (documented in `howdah
// --help`): 0 ok, 1 failure, 2 usage, 3 auth, 4 not found, 5 conflict, 6 timeout, 7 operation
// failed.
import { describeError, ERRORS, HowdahError } from '@howdah/core/errors.ts'
import { CommanderError } from 'commander'
import { INTERRUPTED_EXIT_CODE, StoppedWatching } from './follow.ts'
import { formatJson, type OutputFormat, type Paint } from './output.ts'
import { safeLines } from './safe-text.ts'

export const USAGE_EXIT_CODE = 2

export interface Failure {
  exitCode: number
  code: string
  detail: string
  hint: string
  fields: { pointer: string; message: string }[]
  /** `request_id` and `operation_id`, where there are any. */
  references: Record<string, string>
}

export function describeFailure(error: unknown): Failure {
  if (error instanceof HowdahError) return describeHowdahError(error)
  if (error instanceof CommanderError) return describeUsage(error)
  if (error instanceof StoppedWatching) {
    return plainFailure(INTERRUPTED_EXIT_CODE, 'interrupted', 'stopped watching', {
      hint: `the operation goes on: howdah op watch ${error.operationId}`,
      references: { operation_id: error.operationId },
    })
  }
  return plainFailure(1, 'internal', describeError(error), {
    hint: 'set HOWDAH_DEBUG=1 to see where it comes from',
  })
}

function plainFailure(
  exitCode: number,
  code: string,
  detail: string,
  more: Partial<Failure>,
): Failure {
  return { exitCode, code, detail, hint: '', fields: [], references: {}, ...more }
}

function describeHowdahError(error: HowdahError): Failure {
  const entry = ERRORS[error.code]
  const { hint, code, ...references } = error.extra
  return {
    exitCode: entry.exit,
    code: code ?? error.code,
    detail: error.message === '' ? entry.title : error.message,
    hint: hint ?? entry.hint,
    fields: error.fields,
    references,
  }
}

// Commander's text is `error: …`, with a suggestion in a second line.
function describeUsage(error: CommanderError): Failure {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  const suggestion = rest
    .join(' ')
    .trim()
    .replace(/^\((.*)\)$/, '$1')
  const hint = suggestion === '' ? 'add --help to see how it is used' : suggestion
  return plainFailure(USAGE_EXIT_CODE, 'usage', first, { hint })
}

export function formatFailure(failure: Failure, format: OutputFormat, paint: Paint): string {
  if (format === 'json') return `${formatJson({ error: toJson(failure) })}\n`
  const lines = [`${paint('red', 'error:')} ${safeLines(failure.detail)}`]
  for (const { pointer, message } of failure.fields) {
    if (failure.detail.includes(pointer) && failure.detail.includes(message)) continue
    lines.push(`  ${safeLines(`${pointer} ${message}`.trim())}`)
  }
  if (failure.hint !== '') lines.push(`${paint('cyan', 'hint:')} ${safeLines(failure.hint)}`)
  for (const [name, value] of Object.entries(failure.references)) {
    lines.push(paint('dim', safeLines(`${name.replaceAll('_', ' ')}: ${value}`)))
  }
  return `${lines.join('\n')}\n`
}

function toJson(failure: Failure): Record<string, unknown> {
  const { references, fields, exitCode, ...rest } = failure
  return {
    ...rest,
    ...references,
    ...(fields.length === 0 ? {} : { errors: fields }),
    exit_code: exitCode,
  }
}
