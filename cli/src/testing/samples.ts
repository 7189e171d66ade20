// Owns sample resources for tests of the CLI, as the API would send them.
import type { Cluster, Endpoint } from '@howdah/core/contract/clusters.ts'
import type { Event, Operation, OperationStep } from '@howdah/core/contract/operations.ts'

const AT = '2026-01-02T03:04:05.000Z'

export function sampleStep(name: string, state: OperationStep['state'] = 'pending'): OperationStep {
  const startedAt = state === 'pending' ? null : AT
  const endedAt = state === 'succeeded' || state === 'failed' ? '2026-01-02T03:04:07.500Z' : null
  return {
    name,
    title: `does ${name}`,
    state,
    message: '',
    started_at: startedAt,
    ended_at: endedAt,
  }
}

export function sampleOperation(changes: Partial<Operation> = {}): Operation {
  return {
    id: 'op_1',
    kind: 'create-cluster',
    title: 'create cluster demo',
    state: 'running',
    cancel_requested: false,
    cluster_id: 'clu_1',
    cluster_name: 'demo',
    attempt: 1,
    steps: [sampleStep('plan', 'succeeded'), sampleStep('start-leader', 'running')],
    error: null,
    created_by: 'admin',
    created_at: AT,
    started_at: AT,
    ended_at: null,
    ...changes,
  }
}

export function sampleEvent(id: string, kind: string, message: string): Event {
  return {
    id,
    kind,
    message,
    cluster_id: 'clu_1',
    host_id: null,
    operation_id: 'op_1',
    data: {},
    at: AT,
  }
}

export function sampleCluster(changes: Partial<Cluster> = {}): Cluster {
  return {
    id: 'clu_1',
    name: 'demo',
    state: 'available',
    message: 'all instances run',
    spec: {
      postgres_version: '15',
      instances: 3,
      gateways: 1,
      durability: 'sync',
      sensitivity: 'balanced',
      maintenance: false,
      parameters: { work_mem: '8MB' },
      labels: { team: 'a' },
    },
    version: 3,
    endpoints: [sampleEndpoint('write', 5000), sampleEndpoint('read', 5001)],
    instances: [],
    parameters: [],
    readiness: { ready: true, checks: [] },
    last_failover: null,
    running_operation_id: null,
    created_at: AT,
    deleted_at: null,
    purge_at: null,
    ...changes,
  }
}

export function sampleEndpoint(
  purpose: Endpoint['purpose'],
  port: number,
  address = '127.42.0.4',
): Endpoint {
  return { purpose, gateway: 'host-4', address, port }
}
