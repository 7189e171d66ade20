// Owns making the embedded hosts known to the control plane and their agents enrolled. Every step
// looks first and does what is missing, so a start that died half-way is completed by the next.
import type { Dcs, EnrolmentToken, Host } from '@howdah/core/contract/hosts.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { type ApiClient, apiPath } from '../api-client.ts'
import { writeDurable } from './durable-file.ts'
import { dcsHosts, type HostPlace, type PlatformLayout } from './layout.ts'
import { waitFor } from './wait-for.ts'

export interface JoinContext {
  client: ApiClient
  layout: PlatformLayout
  /** What the control plane heard before this is of an earlier start: not taken for the present. */
  sinceMs: number
  signal: AbortSignal
}

const ONLINE_TIMEOUT_MS = 60_000
const DCS_TIMEOUT_MS = 120_000

/** Creates missing hosts and calls `start` for each as soon as its agent can enrol. */
export async function joinHosts(
  context: JoinContext,
  start: (host: HostPlace) => Promise<void>,
): Promise<void> {
  const known = await context.client.list<Host>('/v1/hosts')
  await Promise.all(
    context.layout.hosts.map(async (place) => {
      const host = known.find((candidate) => candidate.name === place.name)
      if (host === undefined) await createHost(context, place)
      if (host === undefined || host.state === 'pending') await placeToken(context, place)
      await start(place)
    }),
  )
}

export async function waitHostsOnline(context: JoinContext): Promise<void> {
  const wanted = context.layout.hosts.map((place) => place.name)
  await waitFor(
    { what: 'all hosts to be online', timeoutMs: ONLINE_TIMEOUT_MS, signal: context.signal },
    async () => {
      const hosts = await context.client.list<Host>('/v1/hosts')
      const late = hosts.filter(
        (host) =>
          wanted.includes(host.name) &&
          !(host.state === 'online' && Date.parse(host.seen_at ?? '') >= context.sinceMs),
      )
      if (late.length === 0) return { value: undefined }
      return { seen: late.map(({ name, message }) => `${name}: ${message}`).join(', ') }
    },
  )
}

/**
 * The operation that makes the dcs, or undefined when there is one. An earlier start's operation is
 * followed where it runs still, and tried again where it failed.
 */
export async function ensureDcs(context: JoinContext): Promise<Operation | undefined> {
  const { client, layout } = context
  const dcs = await client.get<Dcs>('/v1/dcs')
  if (dcs.state === 'available') return undefined
  if (dcs.state === 'none') {
    const body = { hosts: dcsHosts(layout) }
    const { data } = await client.request<{ operation: Operation }>('POST', '/v1/dcs', { body })
    return data.operation
  }
  const operations = await client.list<Operation>('/v1/operations')
  const earlier = operations.find((operation) => operation.kind === 'create-dcs')
  if (earlier === undefined || !['failed', 'cancelled'].includes(earlier.state)) return earlier
  const path = apiPath`/v1/operations/${earlier.id}/retry`
  return (await client.request<{ operation: Operation }>('POST', path)).data.operation
}

export async function waitDcs(context: JoinContext): Promise<void> {
  await waitFor(
    { what: 'the dcs', timeoutMs: DCS_TIMEOUT_MS, signal: context.signal },
    async () => {
      const dcs = await context.client.get<Dcs>('/v1/dcs')
      return dcs.state === 'available' ? { value: undefined } : { seen: `it is ${dcs.state}` }
    },
  )
}

async function createHost(context: JoinContext, place: HostPlace): Promise<void> {
  const { name, address, role } = place
  // Outgoing connections on a loopback network come from 127.0.0.1 unless a program binds first.
  const body = { name, address, role, source_addresses: ['127.0.0.1'] }
  try {
    await context.client.request('POST', '/v1/hosts', { body })
  } catch (error) {
    // The reply of an earlier attempt was lost.
    if (!(error instanceof HowdahError) || error.code !== 'name-taken') throw error
  }
}

async function placeToken(context: JoinContext, place: HostPlace): Promise<void> {
  const path = apiPath`/v1/hosts/${place.name}/enrolment-token`
  const { data } = await context.client.request<EnrolmentToken>('POST', path)
  await writeDurable(place.enrolmentTokenFile, `${data.token}\n`, 0o600)
}
