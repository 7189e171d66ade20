// Proves the limit on shared memory; that the estimate is PostgreSQL's own is proven in
// control-plane/src/parameter-values.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from './errors.ts'
import { requireSharedMemory } from './shared-memory.ts'
import { clusterParameters } from './sizing.ts'

const GIB = 1024 ** 3
const share = { memoryBytes: GIB, cpuCount: 2, diskBytes: 100 * GIB }

const refused = (parameters: Record<string, string>) =>
  assert.throws(
    () => requireSharedMemory(clusterParameters(share, parameters), share),
    (error) => error instanceof HowdahError && error.code === 'invalid-parameter',
  )

test('what is sized always fits, and so does what a host can hold', () => {
  for (const memoryBytes of [GIB / 4, GIB, 64 * GIB, 1024 * GIB]) {
    const machine = { ...share, memoryBytes }
    requireSharedMemory(clusterParameters(machine, {}), machine)
  }
  const most = { shared_buffers: '2GB', max_connections: '1000' }
  requireSharedMemory(clusterParameters(share, most), share)
})

test('more than three quarters of the host is refused, whatever takes it', () => {
  refused({ shared_buffers: '3GB' })
  refused({ shared_buffers: '4TB' })
  refused({ max_connections: '10000', max_locks_per_transaction: '10000' })
  refused({ max_connections: '10000', track_activity_query_size: '1048576' })
  refused({ max_prepared_transactions: '10000', max_pred_locks_per_transaction: '100000' })
})
