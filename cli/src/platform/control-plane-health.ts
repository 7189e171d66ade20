// Owns asking one control plane whether it is ready: a single short attempt without a token, unlike
// the API client's, because a start asks many times a second.

import { createReadStream, statSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { readOptional } from './durable-file.ts'
import { type PlatformLayout, SERVICE_CONTROL_PLANE } from './layout.ts'
import type { Observation } from './wait-for.ts'

const ATTEMPT_TIMEOUT_MS = 2_000
const LOG_TAIL_BYTES = 4_096

/** Ready means: it answers, and has written what the CLI needs to talk to it. */
export async function observeControlPlane(
  layout: PlatformLayout,
): Promise<Observation<{ token: string; caPem: string }>> {
  const [token, caPem] = await Promise.all([
    readOptional(layout.adminTokenFile),
    readOptional(layout.caFile),
  ])
  if (caPem === undefined) return { seen: 'it has not written its certificate yet' }
  if (token === undefined) return { seen: 'it has not written its token yet' }
  const problem = await askHealth(layout.apiUrl, caPem)
  return problem === undefined ? { value: { token: token.trim(), caPem } } : { seen: problem }
}

/** The end of its log, for a person who waits in vain. */
export async function controlPlaneLogTail(layout: PlatformLayout): Promise<string> {
  const path = join(layout.log, SERVICE_CONTROL_PLANE, 'current')
  try {
    const start = Math.max(0, statSync(path).size - LOG_TAIL_BYTES)
    const tail = await text(createReadStream(path, { start }))
    return tail.trim().split('\n').slice(-6).join('\n')
  } catch {
    return ''
  }
}

/** Undefined when healthy. */
function askHealth(apiUrl: string, ca: string): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const signal = AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)
  const request = https.get(
    new URL('/v1/health', apiUrl),
    { ca, signal, agent: false, rejectUnauthorized: true },
    (response) => {
      response.resume()
      response.on('error', () => {})
      resolve(response.statusCode === 200 ? undefined : `health says ${response.statusCode}`)
    },
  )
  request.on('error', (error) => resolve(error.message))
  return promise
}
