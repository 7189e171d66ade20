// Proves what is rendered, byte by byte, against the files in golden/. After a change on purpose:
// node --test --test-update-snapshots core/src/render/host-spec.test.ts, and review the difference.
import assert from 'node:assert/strict'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { Value } from 'typebox/value'
import { HostSpec } from '../host-spec.ts'
import { sampleFleet } from '../testing/sample-fleet.ts'
import { renderHostSpec } from './host-spec.ts'
import type { RenderClosedGateway } from './model.ts'

const GOLDEN = join(import.meta.dirname, 'golden')
const SECRET_OR_PEM = /\.(crt|key|pem)$/
const text = { serializers: [(value: unknown) => String(value)] }

const fleet = sampleFleet()
const specs = fleet.hosts.map((host) => renderHostSpec(host, 7, fleet.dcs, [fleet.cluster]))
const [dataHost, , , gatewayHost] = specs as [HostSpec, HostSpec, HostSpec, HostSpec]

for (const [name, spec] of [
  ['data-host', dataHost],
  ['gateway-host', gatewayHost],
] as const) {
  test(`the services and directories of a ${name.replace('-', ' ')} are the golden ones`, (t) => {
    const files = spec.files.map((file) => file.path)
    const shown = `${JSON.stringify({ ...spec, files }, null, 2)}\n`
    t.assert.fileSnapshot(shown, join(GOLDEN, `${name}.json`), text)
  })
  for (const file of spec.files.filter(({ path }) => !SECRET_OR_PEM.test(path))) {
    test(`${basename(file.path)} is the golden one`, (t) => {
      t.assert.fileSnapshot(file.content, join(GOLDEN, basename(file.path)), text)
    })
  }
}

test('every spec fits the schema that agents parse it with', () => {
  for (const spec of specs) assert.deepEqual([...Value.Errors(HostSpec, spec)], [])
})

test('the same input gives the same bytes', () => {
  const again = sampleFleet()
  const [host] = again.hosts
  assert.ok(host)
  assert.deepEqual(renderHostSpec(host, 7, again.dcs, [again.cluster]), dataHost)
})

test('a host that nothing is placed on gets an empty spec', () => {
  const stranger = { ...(fleet.hosts[0] as (typeof fleet.hosts)[0]), id: 'hst_stranger' }
  const spec = renderHostSpec(stranger, 1, fleet.dcs, [fleet.cluster])
  assert.deepEqual([spec.files, spec.services, spec.directories], [[], [], []])
})

/** Of the host that has the gateway, while nothing else of the cluster is there. */
function closed(change: Partial<RenderClosedGateway> = {}, number = 4): HostSpec {
  const host = fleet.hosts[number - 1]
  const [gateway] = fleet.cluster.gateways
  assert.ok(host !== undefined && gateway !== undefined)
  const restore = { gateway, clusterName: 'demo', operationId: 'op_1', failed: false, ...change }
  return renderHostSpec(host, 7, fleet.dcs, [], [restore])
}

test('the refusals of a closed gateway are the golden ones, with its own certificate', (t) => {
  for (const failed of [false, true]) {
    const spec = closed({ failed })
    assert.deepEqual([...Value.Errors(HostSpec, spec)], [])
    assert.deepEqual([spec.files, spec.services, spec.clusters], [[], [], []])
    const shown = `${JSON.stringify(spec.refusals, null, 2)}\n`
    const name = failed ? 'refusals-failed.json' : 'refusals.json'
    t.assert.fileSnapshot(shown, join(GOLDEN, name), text)
  }
})

test('what clients are told fits the schema, whatever a cluster is called', () => {
  for (const clusterName of ['\0', 'a\r\nb\u009b', 'a'.repeat(1000)]) {
    assert.deepEqual([...Value.Errors(HostSpec, closed({ clusterName }))], [])
  }
})

test('another host refuses nobody', () => {
  assert.equal(closed({}, 1).refusals, undefined)
})

test('pg_hba is the same for every instance', () => {
  const settings = specs
    .slice(0, 3)
    .map((spec) => spec.files.find(({ path }) => path.endsWith('patroni.yml'))?.content ?? '')
  const hba = settings.map((content) => /pg_hba:\n(?: +- .*\n)+/.exec(content)?.[0])
  assert.ok(hba[0])
  assert.equal(new Set(hba).size, 1)
})

test('an instance lets the same in while nothing else of its cluster runs yet', () => {
  const [host] = fleet.hosts
  assert.ok(host)
  const alone = { ...fleet.cluster, instances: fleet.cluster.instances.slice(0, 1), gateways: [] }
  const settings = (spec: HostSpec) =>
    spec.files.find(({ path }) => path.endsWith('patroni.yml'))?.content
  assert.equal(settings(renderHostSpec(host, 7, fleet.dcs, [alone])), settings(dataHost))
})

test('a password stands in files only, never in an argument or the environment', () => {
  for (const spec of specs) {
    assert.doesNotMatch(JSON.stringify([spec.services, spec.directories]), /password-of-/)
  }
})
