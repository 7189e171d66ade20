// Proves placement on drawn fleets: no port has two owners, nothing shares a host before every host
// has one, and what does not fit is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HowdahError } from './errors.ts'
import { type PlacementHost, placeCluster } from './placement.ts'

const SEED = 20_250_701

function host(name: string, change: Partial<PlacementHost> = {}): PlacementHost {
  return { id: `id-${name}`, name, role: 'data', load: 0, takenPorts: new Set(), ...change }
}

const FOUR = [host('h1'), host('h2'), host('h3'), host('h4', { role: 'gateway' })]

type Placed = ReturnType<typeof placeCluster>

/** `host:port` of everything that was placed. */
function portsOf(placed: Placed): string[] {
  return [
    ...placed.instances.flatMap(({ hostId, postgresPort, restPort }) =>
      [postgresPort, restPort].map((port) => `${hostId}:${port}`),
    ),
    ...placed.gateways.flatMap(({ hostId, ports }) =>
      Object.values(ports).map((port) => `${hostId}:${port}`),
    ),
  ]
}

const refused = (place: () => unknown) =>
  assert.throws(place, (error) => error instanceof HowdahError && error.code === 'no-capacity')

test('three instances take the data hosts, the gateway its own, with the known ports', () => {
  const placed = placeCluster(FOUR, { instances: 3, gateways: 1 })
  assert.deepEqual(
    placed.instances.map(({ hostId, postgresPort, restPort }) => [hostId, postgresPort, restPort]),
    [
      ['id-h1', 5432, 8008],
      ['id-h2', 5432, 8008],
      ['id-h3', 5432, 8008],
    ],
  )
  const ports = {
    write: 5000,
    read: 5001,
    writeDirect: 5002,
    readDirect: 5003,
    pooler: 5004,
    stats: 8404,
  }
  assert.deepEqual(placed.gateways, [{ number: 1, hostId: 'id-h4', ports }])
})

test('five instances on four hosts: every host has one before a host has two', () => {
  const placed = placeCluster(FOUR, { instances: 5, gateways: 1 })
  const hosts = placed.instances.map(({ hostId }) => hostId)
  assert.deepEqual(hosts, ['id-h1', 'id-h2', 'id-h3', 'id-h4', 'id-h1'])
  assert.deepEqual(
    placed.instances.map(({ postgresPort, restPort }) => [postgresPort, restPort]).at(-1),
    [5433, 8009],
  )
})

test('instances go where they could archive as leaders, as long as hosts are enough', () => {
  const hosts = [host('h1', { canBackUp: false }), host('h2', { load: 9 }), host('h3')]
  const placedOn = (instances: number) =>
    placeCluster(hosts, { instances, gateways: 1 }).instances.map(({ hostId }) => hostId)
  assert.deepEqual(placedOn(2), ['id-h3', 'id-h2'])
  assert.deepEqual(placedOn(3), ['id-h3', 'id-h2', 'id-h1'])
})

test('the least loaded hosts come first', () => {
  const hosts = [host('h1', { load: 3 }), host('h2', { load: 1 }), host('h3', { load: 2 })]
  const placed = placeCluster(hosts, { instances: 2, gateways: 1 })
  assert.deepEqual(
    placed.instances.map(({ hostId }) => hostId),
    ['id-h2', 'id-h3'],
  )
})

test('a block of a gateway is skipped as a whole when one of its ports is taken', () => {
  const taken = host('h1', { takenPorts: new Set([5003, 8405]) })
  const placed = placeCluster([taken], { instances: 1, gateways: 1 })
  assert.equal(placed.gateways[0]?.ports.write, 5020)
  assert.equal(placed.gateways[0]?.ports.stats, 8406)
})

test('no host, too few hosts for gateways and no free port are refused', () => {
  refused(() => placeCluster([], { instances: 1, gateways: 1 }))
  refused(() => placeCluster([host('h1')], { instances: 1, gateways: 2 }))
  const full = (first: number, count: number) =>
    host('h1', { takenPorts: new Set(Array.from({ length: count }, (_, index) => first + index)) })
  for (const crowded of [full(5432, 200), full(8008, 200), full(5000, 400), full(8404, 40)]) {
    refused(() => placeCluster([crowded], { instances: 1, gateways: 1 }))
  }
})

test('clusters placed one after the other never share a port, and spread', () => {
  const wanted = fc.record({
    instances: fc.integer({ min: 1, max: 5 }),
    gateways: fc.integer({ min: 1, max: 3 }),
  })
  const roles = fc.array(fc.constantFrom('data' as const, 'gateway' as const), {
    minLength: 3,
    maxLength: 7,
  })
  fc.assert(
    fc.property(roles, fc.array(wanted, { minLength: 1, maxLength: 12 }), (kinds, clusters) => {
      const taken = new Map<string, Set<number>>(
        kinds.map((_, index) => [`id-h${index}`, new Set()]),
      )
      for (const cluster of clusters) {
        const hosts = kinds.map((role, index) => {
          const takenPorts = new Set(taken.get(`id-h${index}`))
          return host(`h${index}`, { role, load: takenPorts.size, takenPorts })
        })
        const placed = placeCluster(hosts, cluster)
        assert.equal(placed.instances.length, cluster.instances)
        assert.equal(placed.gateways.length, cluster.gateways)
        assert.equal(new Set(placed.gateways.map(({ hostId }) => hostId)).size, cluster.gateways)
        const homes = new Set(placed.instances.map(({ hostId }) => hostId)).size
        assert.equal(homes, Math.min(cluster.instances, kinds.length))
        for (const owned of portsOf(placed)) {
          const [id, port] = owned.split(':') as [string, string]
          assert.equal(taken.get(id)?.has(Number(port)), false, `${owned} has two owners`)
          taken.get(id)?.add(Number(port))
        }
      }
    }),
    { seed: SEED, numRuns: 200 },
  )
})
