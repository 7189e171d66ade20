// Owns the agent's side of the protocol: mTLS calls to one of the control planes, the next one
// after a failure, with every reply parsed before anybody sees it.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import {
  PROTOCOL_PATH,
  RenewReply,
  type RenewRequest,
  ReportReply,
  type ReportRequest,
  SYNC_HOLD_MS,
  SyncReply,
  type SyncRequest,
} from '@howdah/core/protocol.ts'
import type { Static, TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { makeHttpsAgent, sendRequest } from './https-request.ts'
import type { Identity } from './identity.ts'

const CALL_TIMEOUT_MS = 10_000
/** Beyond the hold, a silent connection is a dead one. */
const SYNC_TIMEOUT_MS = SYNC_HOLD_MS + 10_000
const REPLY_BYTES_MAX = 32 * 1024 * 1024

export interface ControlPlane {
  sync(request: SyncRequest, signal: AbortSignal): Promise<SyncReply>
  report(request: ReportRequest, signal: AbortSignal): Promise<ReportReply>
  renew(
    request: Static<typeof RenewRequest>,
    signal: AbortSignal,
  ): Promise<Static<typeof RenewReply>>
  /** Calls from now on show this certificate; those under way end as they began. */
  useIdentity(identity: Identity): void
  close(): void
}

export function connectControlPlane(urls: readonly string[], identity: Identity): ControlPlane {
  let agent = agentFor(identity)
  let preferred = 0

  async function call(
    path: string,
    body: unknown,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<unknown> {
    const failures: string[] = []
    // Calls run side by side: each goes its own round, so that none skips a control plane.
    const first = preferred
    for (let tried = 0; tried < urls.length; tried += 1) {
      const index = (first + tried) % urls.length
      const base = urls[index] as string
      const url = `${base}${PROTOCOL_PATH}/${path}`
      try {
        const response = await sendRequest({
          agent,
          url,
          method: 'POST',
          body,
          timeoutMs,
          responseBytesMax: REPLY_BYTES_MAX,
          signal,
        })
        if (response.status === 200) {
          preferred = index
          return JSON.parse(response.text)
        }
        failures.push(`${base} answered ${response.status}: ${response.text.slice(0, 300)}`)
      } catch (error) {
        failures.push(`${base}: ${describeError(error)}`)
      }
      if (signal.aborted) break
    }
    throw new HowdahError('platform-unreachable', failures.join('; '))
  }

  return {
    sync: async (request, signal) =>
      parseReply(SyncReply, await call('sync', request, SYNC_TIMEOUT_MS, signal)),
    report: async (request, signal) =>
      parseReply(ReportReply, await call('report', request, CALL_TIMEOUT_MS, signal)),
    renew: async (request, signal) =>
      parseReply(RenewReply, await call('renew', request, CALL_TIMEOUT_MS, signal)),
    useIdentity(next) {
      const previous = agent
      agent = agentFor(next)
      // Only idle connections end here; `destroy` would cut the sync that is being held.
      for (const sockets of Object.values(previous.freeSockets)) {
        for (const socket of sockets ?? []) socket.destroy()
      }
      previous.maxFreeSockets = 0
    },
    close: () => agent.destroy(),
  }
}

function agentFor(identity: Identity) {
  const { caPem, certificatePem, privateKeyPem } = identity
  return makeHttpsAgent({ caPem, certificatePem, privateKeyPem, checkName: true })
}

/** The reply, or an error that says where it does not fit; never a part of it. */
function parseReply<Schema extends TSchema>(schema: Schema, reply: unknown) {
  if (Value.Check(schema, reply)) return reply
  const first = Value.Errors(schema, reply)[0]
  const where = first === undefined ? '' : `: ${first.instancePath} ${first.message}`
  throw new HowdahError('agent-refused', `a reply of the control plane does not fit${where}`)
}
