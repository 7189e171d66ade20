// The promise: where the host of an asynchronous leader is lost together with the only gateway, and
// comes back, the change of leader is on record with what was lost, and nothing that nobody saw.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Cluster, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { commandPlatformService, loseHost } from '../harness/host.ts'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const CHANGE_TIMEOUT_MS = 120_000
/** The last host is the one for gateways, and holds an instance, too. */
const SHARED = 'host-3'

let platform: TestPlatform

before(async () => {
  if ('skip' in LONG) return
  platform = await startPlatform({ subnet: '127.72.0', hosts: 3 })
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

async function shown(): Promise<Cluster> {
  return (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
}

const leaderOf = ({ instances }: Cluster) => instances.find(({ role }) => role === 'leader')
const gatewayCheck = ({ readiness }: Cluster) =>
  readiness.checks.find(({ name }) => name === 'gateways')

async function leadFrom(host: string): Promise<string> {
  const seen = await shown()
  const heir = seen.instances.find((instance) => instance.host === host)?.name ?? ''
  if (leaderOf(seen)?.name === heir) return heir
  const path = '/v1/clusters/demo/switchover'
  const { body } = await platform.api<OperationAccepted>('POST', path, { to: heir })
  const { state, error } = await platform.waitOperation(body.operation.id, CHANGE_TIMEOUT_MS)
  assert.equal(state, 'succeeded', JSON.stringify(error))
  return heir
}

test('a leader that is lost with the only gateway says what was lost', LONG, async () => {
  const cluster = await platform.createCluster('demo', { instances: 3, durability: 'async' })
  const former = await leadFrom(SHARED)
  const risky = await until('the risk to be told', CHANGE_TIMEOUT_MS, async () => {
    const seen = await shown()
    return gatewayCheck(seen)?.ok === false ? { value: seen } : { seen: JSON.stringify(seen) }
  })
  assert.match(gatewayCheck(risky)?.message ?? '', /on the leader's host/)
  await platform.sql({ cluster }, 'create table kept as select generate_series(1, 1000)')

  const lostAt = Date.now()
  await loseHost(platform, SHARED)
  const heir = await until('another to lead', CHANGE_TIMEOUT_MS, async () => {
    const leader = leaderOf(await shown())
    return leader !== undefined && leader.name !== former
      ? { value: leader.name }
      : { seen: leader?.name ?? 'nobody' }
  })
  await commandPlatformService(platform, SHARED, '-u')

  const last = await until('what was lost to be known', CHANGE_TIMEOUT_MS, async () => {
    const { last_failover: found } = await shown()
    const isKnown = found?.from === former && found.receipt.bytes !== null
    return isKnown ? { value: found } : { seen: JSON.stringify(found) }
  })
  assert.deepEqual([last.to, last.planned, last.gap_ms], [heir, false, null])
  // Of when it happened, not of when the gateway was back.
  const at = Date.parse(last.at)
  assert.ok(at >= lostAt - 1000 && at < Date.now() - 1000, `${last.at}, lost at ${lostAt}`)
  assert.equal(last.receipt.acknowledged_bytes, last.receipt.bytes)
})
