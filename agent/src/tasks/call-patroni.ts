// Owns a call of the REST API of this host's Patroni. Any HTTP status is a result.
import { describeError } from '@howdah/core/errors.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { makeHttpsAgent, sendRequest } from '../https-request.ts'
import { TaskError } from './task-error.ts'

type PatroniAction = Extract<TaskAction, { kind: 'patroni' }>

export interface PatroniAnswer {
  status: number
  body: unknown
}

const REPLY_BYTES_MAX = 1024 * 1024

/** `body` is parsed JSON, or text where Patroni answers with text. */
export async function callPatroni(
  action: PatroniAction,
  limits: { timeoutMs: number; signal: AbortSignal },
): Promise<PatroniAnswer> {
  const agent = makeHttpsAgent({ caPem: action.caPem, checkName: false })
  const host = action.address.includes(':') ? `[${action.address}]` : action.address
  const credentials = Buffer.from(`${action.user}:${action.password}`).toString('base64')
  try {
    const { status, text } = await sendRequest({
      agent,
      url: `https://${host}:${action.port}${action.path}`,
      method: action.method,
      headers: { authorization: `Basic ${credentials}` },
      ...(action.method === 'GET' ? {} : { body: action.body ?? {} }),
      timeoutMs: limits.timeoutMs,
      responseBytesMax: REPLY_BYTES_MAX,
      signal: limits.signal,
    })
    return { status, body: parseBody(text) }
  } catch (error) {
    throw new TaskError('unreachable', describeError(error), { cause: error })
  } finally {
    agent.destroy()
  }
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
