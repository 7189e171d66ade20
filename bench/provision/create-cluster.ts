// Owns one trial of ours in `provision`: a request to the API of a running platform, and a client
// that polls the write endpoint with the credentials of the reply until a commit succeeds and the
// API calls two replicas streaming.
import type { Cluster, ClusterAccepted } from '@howdah/core/contract/clusters.ts'
import { endpointOf } from '../../test/harness/cluster.ts'
import type { TestPlatform } from '../../test/harness/platform.ts'
import { querySql } from '../sql.ts'
import { pollUntil } from './poll.ts'

export interface CreateResult {
  /** From the request to the reply. */
  acceptedMs: number
  firstWriteMs: number
  streamingMs: number
  totalMs: number
  /** Until the operation has ended, its last checks included. */
  operationMs: number
  /** When each step began, from the start of the operation. */
  steps: Record<string, number>
}

/** Each look is a TLS session of its own: more of them would slow what is measured. */
const WAIT = { intervalMs: 100, timeoutMs: 240_000 }
const API_WAIT = { intervalMs: 100, timeoutMs: 240_000 }
const OPERATION_TIMEOUT_MS = 240_000

export async function runCreateCluster(
  platform: TestPlatform,
  name: string,
): Promise<CreateResult> {
  const startedMs = performance.now()
  const sinceStart = (ms: number) => Math.round(ms - startedMs)
  const reply = await platform.api<ClusterAccepted>('POST', '/v1/clusters', { name, instances: 3 })
  const acceptedMs = sinceStart(performance.now())
  if (reply.status !== 202) throw new Error(`create ${name}: ${JSON.stringify(reply.body)}`)
  const path = `/v1/clusters/${reply.body.cluster.id}`
  try {
    const writtenMs = await waitFirstWrite(platform, path, reply.body)
    const streamingMs = await waitStreaming(platform, path)
    const operation = await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
    if (operation.state !== 'succeeded') throw new Error(JSON.stringify(operation.error))
    const begunMs = Date.parse(operation.started_at ?? operation.created_at)
    return {
      acceptedMs,
      firstWriteMs: sinceStart(writtenMs),
      streamingMs: sinceStart(streamingMs),
      totalMs: sinceStart(Math.max(writtenMs, streamingMs)),
      operationMs: Date.parse(operation.ended_at ?? '') - Date.parse(operation.created_at),
      steps: Object.fromEntries(
        operation.steps.map((step) => [step.name, Date.parse(step.started_at ?? '') - begunMs]),
      ),
    }
  } finally {
    await deleteCluster(platform, path, name)
  }
}

async function waitFirstWrite(
  platform: TestPlatform,
  path: string,
  accepted: ClusterAccepted,
): Promise<number> {
  const { credentials } = accepted
  if (credentials === undefined) throw new Error('no credentials in the reply')
  let target: { host: string; port: number; caPem: string } | undefined
  await pollUntil('an endpoint', API_WAIT, async () => {
    target = await findTarget(platform, path)
    return true
  })
  return pollUntil('a commit through the write endpoint', WAIT, async () => {
    if (target === undefined) throw new Error('BUG: no endpoint')
    const { role: user, password, database } = credentials
    const address = { ...target, user, password, database: database ?? 'app' }
    await querySql(address, 'create table first_write (number integer)')
    return true
  })
}

async function findTarget(platform: TestPlatform, path: string) {
  const [cluster, ca] = await Promise.all([
    platform.api<Cluster>('GET', path),
    platform.api<{ pem: string }>('GET', `${path}/ca`),
  ])
  if (ca.status !== 200) throw new Error(`its authority: ${ca.status}`)
  const { address, port } = endpointOf(cluster.body, 'write')
  return { host: address, port, caPem: ca.body.pem }
}

async function waitStreaming(platform: TestPlatform, path: string): Promise<number> {
  return pollUntil('two streaming replicas', API_WAIT, async () => {
    const { body } = await platform.api<Cluster>('GET', path)
    return body.instances.filter(({ streaming }) => streaming).length === 2
  })
}

async function deleteCluster(platform: TestPlatform, path: string, name: string): Promise<void> {
  const body = { confirm: name, purge: true }
  const whatever = { 'if-match': '*' }
  const reply = await platform.api<{ operation: { id: string } }>('DELETE', path, body, whatever)
  if (reply.status !== 202) throw new Error(`delete ${name}: ${JSON.stringify(reply.body)}`)
  await platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
}
