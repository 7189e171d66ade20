// Owns the verdict on a reply of the API: what every reply must be, however wrong the request was.
import { ERRORS, type ErrorCode } from '@howdah/core/errors.ts'
import { isId } from '@howdah/core/ids.ts'
import type { ApiRoute } from './api-schema.ts'
import type { RawReply } from './raw-request.ts'

/** A frame of a stack, a module's URL, or a path of the machine that the control plane runs on. */
const LEAKS = [/\n\s+at \S+/, /\bat [\w.<>]+ \(/, /node_modules/, /file:\/\//, /\.ts:\d+/]

/** What is wrong with it; empty when nothing is. `privatePaths` must not stand in a reply. */
export function judgeReply(
  reply: RawReply,
  route: ApiRoute | undefined,
  privatePaths: readonly string[],
): string[] {
  const { status, headers, text } = reply
  const wrong: string[] = []
  if (status >= 500) wrong.push(`status ${status}`)
  if (status < 200) wrong.push(`status ${status}`)
  for (const leak of LEAKS) if (leak.test(text)) wrong.push(`${leak} matches`)
  for (const path of privatePaths) if (text.includes(path)) wrong.push(`holds the path ${path}`)
  if (!isId('request', String(headers['x-request-id']))) wrong.push('has no x-request-id')
  if (status >= 400) wrong.push(...judgeProblem(reply))
  else if (route !== undefined && !isStream(reply)) {
    const body: unknown = text === '' ? undefined : parseJson(text)
    const problem = route.problemWith(status, body)
    if (problem !== undefined) wrong.push(problem)
  }
  return wrong
}

const isStream = ({ headers }: RawReply) => headers['content-type'] === 'text/event-stream'

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function judgeProblem({ status, headers, text }: RawReply): string[] {
  // The answer to HEAD has no body, by definition.
  if (text === '' && headers['content-length'] !== '0') return []
  const problem = parseJson(text) as Record<string, unknown> | undefined
  if (headers['content-type'] !== 'application/problem+json' || problem === undefined) {
    return [`is no problem: ${headers['content-type']} ${text.slice(0, 200)}`]
  }
  const code = problem['code'] as ErrorCode
  if (!Object.hasOwn(ERRORS, code)) return [`has the unknown code ${code}`]
  const entry = ERRORS[code]
  const wrong: string[] = []
  if (entry.http !== status || problem['status'] !== status) wrong.push(`${code} with ${status}`)
  if (problem['hint'] !== entry.hint) wrong.push('has another hint')
  if (problem['request_id'] !== headers['x-request-id']) wrong.push('has another request id')
  if (typeof problem['detail'] !== 'string' || problem['detail'] === '') wrong.push('no detail')
  return wrong
}
