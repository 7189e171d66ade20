// Proves the sizing over the range of machines: what is promised fits into the memory and disk that
// an instance has, every value is one that PostgreSQL reads, and every value has its reason.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { clusterParameters, INSTANCE_SLOTS_PER_HOST, instanceShare } from './sizing.ts'

const SEED = 20_250_702
const MIB = 1024 * 1024
const GIB = 1024 * MIB

const mebibytes = (text: string | undefined): number => {
  const match = /^([0-9]+)MB$/.exec(text ?? '')
  assert.ok(match, `${text} is not a size in MB`)
  return Number(match[1]) * MIB
}

const valuesOf = (share: Parameters<typeof clusterParameters>[0]) =>
  new Map(clusterParameters(share, {}).map(({ name, value }) => [name, value]))

test('the smallest host decides, and its slots share it', () => {
  const hosts = [
    { memoryBytes: 8 * GIB, cpuCount: 4, diskBytes: 100 * GIB },
    { memoryBytes: 16 * GIB, cpuCount: 2, diskBytes: 400 * GIB },
  ]
  assert.deepEqual(instanceShare(hosts, INSTANCE_SLOTS_PER_HOST), {
    memoryBytes: 2 * GIB,
    cpuCount: 2,
    diskBytes: 25 * GIB,
  })
})

const share = fc.record({
  memoryBytes: fc.integer({ min: 256 * MIB, max: 2 ** 40 }),
  cpuCount: fc.integer({ min: 1, max: 256 }),
  diskBytes: fc.integer({ min: 10 * GIB, max: 2 ** 46 }),
})

test('buffers, sorts and maintenance fit into the memory together', () => {
  fc.assert(
    fc.property(share, (machine) => {
      const values = valuesOf(machine)
      const buffers = mebibytes(values.get('shared_buffers'))
      const sorts = mebibytes(values.get('work_mem')) * Number(values.get('max_connections')) * 2
      const maintenance = mebibytes(values.get('maintenance_work_mem'))
      assert.ok(maintenance <= machine.memoryBytes / 8)
      assert.ok(buffers <= machine.memoryBytes / 4)
      assert.ok(buffers + sorts <= machine.memoryBytes, `${buffers} + ${sorts}`)
      assert.ok(mebibytes(values.get('effective_cache_size')) <= machine.memoryBytes)
    }),
    { seed: SEED, numRuns: 500 },
  )
})

test('what WAL may take stays a fraction of the disk, and the minimum below the maximum', () => {
  fc.assert(
    fc.property(share, (machine) => {
      const values = valuesOf(machine)
      const maxWal = mebibytes(values.get('max_wal_size'))
      const kept = mebibytes(values.get('max_slot_wal_keep_size'))
      assert.ok(mebibytes(values.get('min_wal_size')) <= maxWal)
      assert.ok(maxWal + kept <= machine.diskBytes / 2)
    }),
    { seed: SEED, numRuns: 500 },
  )
})

test('every parameter has a reason, once, in the order of names', () => {
  const parameters = clusterParameters({ memoryBytes: GIB, cpuCount: 2, diskBytes: 10 * GIB }, {})
  const names = parameters.map(({ name }) => name)
  assert.deepEqual(
    names,
    [...new Set(names)].sort((a, b) => a.localeCompare(b)),
  )
  for (const { name, value, reason } of parameters) {
    assert.ok(reason.length > 5, name)
    assert.ok(value !== '' && !value.includes('NaN'), `${name} = ${value}`)
  }
})

test("the user's value wins, and says what it replaced", () => {
  const machine = { memoryBytes: GIB, cpuCount: 2, diskBytes: 10 * GIB }
  const sized = valuesOf(machine)
  const given = { work_mem: '64MB', jit: 'off' }
  const parameters = new Map(clusterParameters(machine, given).map((entry) => [entry.name, entry]))
  const reason = `set by you; ${sized.get('work_mem')} otherwise`
  assert.deepEqual(parameters.get('work_mem'), {
    name: 'work_mem',
    value: '64MB',
    source: 'user',
    reason,
  })
  assert.equal(parameters.get('jit')?.reason, 'set by you')
  assert.equal(parameters.size, sized.size + 1)
})
