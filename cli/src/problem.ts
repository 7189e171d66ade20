// Owns turning a refusal of the API (RFC 9457) into a HowdahError, whatever the reply holds: it may
// come from a load balancer, or from a platform newer than this CLI.
import type { Problem } from '@howdah/core/contract/resource.ts'
import { ERRORS, type ErrorCode, type FieldError, HowdahError } from '@howdah/core/errors.ts'

const FIELDS_MAX = 50

/**
 * `extra` holds what the platform sent: `hint`, `request_id`, `operation_id`, and an unknown
 * `code`.
 */
export function parseProblem(status: number, body: unknown): HowdahError {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>
  const sent = textOf(problem.code)
  const code = sent !== undefined && isErrorCode(sent) ? sent : codeOfStatus(status)
  const detail =
    textOf(problem.detail) ?? textOf(problem.title) ?? `the platform answered with HTTP ${status}`
  const extra: Record<string, string> = {}
  for (const key of ['hint', 'request_id', 'operation_id'] as const) {
    const value = textOf(problem[key])
    if (value !== undefined) extra[key] = value
  }
  if (sent !== undefined && sent !== code) extra.code = sent
  return new HowdahError(code, detail, { fields: parseFields(problem.errors), extra })
}

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text)
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return 'not-authenticated'
  if (status === 403) return 'not-allowed'
  if (status === 404) return 'not-found'
  if (status === 409) return 'wrong-state'
  if (status === 412) return 'version-mismatch'
  if (status === 429) return 'too-many-requests'
  if (status === 502 || status === 503 || status === 504) return 'platform-unreachable'
  return status >= 400 && status < 500 ? 'bad-request' : 'internal'
}

function parseFields(errors: unknown): FieldError[] {
  if (!Array.isArray(errors)) return []
  return errors.slice(0, FIELDS_MAX).map((field: unknown) => {
    const { pointer, message } = (field ?? {}) as Partial<FieldError>
    return { pointer: textOf(pointer) ?? '', message: textOf(message) ?? '' }
  })
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
