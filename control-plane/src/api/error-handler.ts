// Owns how an error becomes an RFC 9457 problem. This is the only place that knows HTTP statuses of
// errors; what is not in the catalogue becomes `internal`, logged in full and shown without a
// detail.
import type { Socket } from 'node:net'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { describeError, ERRORS, type ErrorCode, HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../log.ts'

const CONTENT_TYPE = 'application/problem+json'
/** Of a body that is refused, so much is read and thrown away; it takes no memory. */
const DRAINED_BYTES_MAX = 64 * 1024 * 1024

export function toProblem(error: HowdahError, requestId: string): Problem {
  const entry = ERRORS[error.code]
  return {
    type: `urn:howdah:error:${error.code}`,
    title: entry.title,
    status: entry.http,
    detail: error.message,
    code: error.code,
    hint: entry.hint,
    retryable: entry.retryable,
    request_id: requestId,
    ...(error.fields.length > 0 ? { errors: error.fields } : {}),
    ...error.extra,
  }
}

const FRAMEWORK_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
}

function fromFramework(error: FastifyError): HowdahError | undefined {
  if (error.validation !== undefined) {
    const fields = error.validation.slice(0, 20).map((problem) => ({
      pointer: `/${error.validationContext ?? 'body'}${problem.instancePath}`,
      message: problem.message ?? 'is not valid',
    }))
    const detail = fields.map((field) => `${field.pointer}: ${field.message}`).join('; ')
    return new HowdahError('bad-request', detail, { fields })
  }
  const code = FRAMEWORK_CODES[error.code]
  if (code !== undefined) return new HowdahError(code, error.message)
  const status = error.statusCode ?? 500
  return status >= 400 && status < 500 ? new HowdahError('bad-request', error.message) : undefined
}

export function makeErrorHandler(log: Log) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const known = error instanceof HowdahError ? error : fromFramework(error as FastifyError)
    if (known === undefined) {
      const stack = error instanceof Error ? error.stack : undefined
      log.error(
        { request: request.id, error: describeError(error), stack },
        'request failed unexpectedly',
      )
    }
    const shown = known ?? new HowdahError('internal', 'see the log of the control plane')
    const problem = toProblem(shown, request.id)
    // Hanging up on somebody who still sends takes the answer away from him before he reads it.
    if (Number(request.headers['content-length']) <= DRAINED_BYTES_MAX) {
      reply.removeHeader('connection')
    }
    if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="howdah"')
    return reply
      .code(problem.status)
      .header('content-type', CONTENT_TYPE)
      .header('cache-control', 'no-store')
      .header('x-request-id', request.id)
      .serializer((body: unknown) => JSON.stringify(body))
      .send(problem)
  }
}

/** Answers what is no HTTP request at all: there is no request object to answer through. */
export function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const problem = toProblem(new HowdahError('bad-request', 'not an HTTP request'), newId('request'))
  const body = JSON.stringify(problem)
  const head = [
    'HTTP/1.1 400 Bad Request',
    `content-type: ${CONTENT_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${problem.request_id}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
