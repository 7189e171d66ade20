// Proves when the pooler for reads connects anew: once for each lasting change of who serves.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { makeReaderFollower, servingReaders } from './follow-readers.ts'

const HEADER = '1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state'

function state(servers: Record<string, [op: number, admin: number]>): string {
  const rows = Object.entries(servers).map(
    ([name, [op, admin]], index) => `5 replicas ${index + 1} ${name} 127.0.0.1 ${op} ${admin} 1 1`,
  )
  return [HEADER, ...rows, ''].join('\n')
}

function follow() {
  let present: string | Error = state({})
  let fails = false
  let reconnects = 0
  const look = makeReaderFollower({
    haproxy: async () => {
      if (present instanceof Error) throw present
      return present
    },
    reconnect: async () => {
      if (fails) throw new Error('the pooler is away')
      reconnects += 1
    },
    log: pino({ level: 'silent' }),
  })
  return {
    look,
    set: (next: string | Error) => {
      present = next
    },
    fail: (next: boolean) => {
      fails = next
    },
    reconnects: () => reconnects,
  }
}

const BOTH = state({ b: [2, 0], c: [2, 0] })
const ONE = state({ b: [2, 0], c: [0, 0] })

test('one that is down, drained or in maintenance serves no new reader', () => {
  const all = state({ d: [2, 0], a: [2, 8], b: [0, 0], c: [2, 1], e: [2, 0] })
  assert.deepEqual(servingReaders(all), ['d', 'e'])
  assert.deepEqual(servingReaders(`${all}6 write 1 a 127.0.0.1 2 0 1 1\n`), ['d', 'e'])
  assert.deepEqual(servingReaders(''), [])
})

test('readers move once for each change that lasts, and for no other', async () => {
  const { look, set, reconnects } = follow()
  set(BOTH)
  await look()
  await look()
  await look()
  assert.equal(reconnects(), 1, 'the pooler may know others from before the agent')
  set(ONE)
  await look()
  set(BOTH)
  await look()
  await look()
  assert.equal(reconnects(), 1, 'it was gone for one look')
  set(ONE)
  await look()
  assert.equal(reconnects(), 1)
  await look()
  await look()
  assert.equal(reconnects(), 2)
})

test('what could not be done is done at the next look', async () => {
  const { look, set, fail, reconnects } = follow()
  set(BOTH)
  await look()
  fail(true)
  await assert.rejects(look(), /the pooler is away/)
  set(new Error('HAProxy is silent'))
  await assert.rejects(look(), /HAProxy is silent/)
  set(BOTH)
  fail(false)
  await look()
  assert.equal(reconnects(), 1)
})
