// A URI names the same role, password and database whatever characters they hold. `psql.test.ts`
// proves it with libpq and a real PostgreSQL.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  chooseCredentials,
  choosePurpose,
  endpointAddresses,
  formatConnectionUri,
} from './connection-target.ts'
import { sampleCluster, sampleEndpoint } from './testing/samples.ts'

const TARGET = {
  addresses: [{ host: '127.42.0.4', port: 5000 }],
  role: 'app',
  password: 'secret',
  database: 'demo',
  caFile: '/h/demo.ca.pem',
}

test('a plain target is readable', () => {
  assert.equal(
    formatConnectionUri(TARGET),
    'postgresql://app:secret@127.42.0.4:5000/demo?sslmode=verify-full&sslrootcert=/h/demo.ca.pem',
  )
})

test('several gateways make a URI of several hosts, IPv6 in brackets', () => {
  const addresses = [
    { host: '10.0.0.1', port: 5000 },
    { host: 'fd00::1', port: 5010 },
  ]
  assert.match(
    formatConnectionUri({ ...TARGET, addresses }),
    /@10\.0\.0\.1:5000,\[fd00::1\]:5010\//,
  )
})

test('every character survives a round trip', () => {
  const all = Array.from({ length: 0xff }, (_, code) => String.fromCharCode(code + 1)).join('')
  const text = `${all}é数🐘`
  const target = { ...TARGET, role: text, password: text, database: text, caFile: '/a b&c=d#?/%' }
  const uri = formatConnectionUri(target)
  assert.match(uri, /^[\x21-\x7e]+$/)
  const [login = '', rest = ''] = uri.slice('postgresql://'.length).split('@')
  const [path = '', query = ''] = rest.split('?')
  const caFile = query.replace('sslmode=verify-full&sslrootcert=', '')
  const parts = [...login.split(':'), path.slice(path.indexOf('/') + 1)]
  assert.deepEqual(parts.map(decodeURIComponent), [text, text, text])
  assert.equal(decodeURIComponent(caFile), target.caFile)
})

test('what no URI can carry is refused', () => {
  assert.throws(() => formatConnectionUri({ ...TARGET, role: 'a\0b' }), { code: 'invalid-name' })
  assert.throws(() => formatConnectionUri({ ...TARGET, database: '\ud800' }), {
    code: 'invalid-name',
  })
})

test('without a password there is none, without a role there is no login', () => {
  const { addresses, caFile } = TARGET
  const nobody = { addresses, caFile, role: undefined, password: undefined, database: undefined }
  assert.match(formatConnectionUri(nobody), /^postgresql:\/\/127\.42\.0\.4:5000\/\?/)
  assert.match(formatConnectionUri({ ...nobody, role: 'a' }), /^postgresql:\/\/a@127/)
})

test('flags choose the endpoint', () => {
  assert.equal(choosePurpose({}), 'write')
  assert.equal(choosePurpose({ read: true }), 'read')
  assert.equal(choosePurpose({ direct: true }), 'write-direct')
  assert.equal(choosePurpose({ read: true, direct: true }), 'read-direct')
  assert.equal(choosePurpose({ readDirect: true }), 'read-direct')
})

test('a cluster without that endpoint is said to be in its state', () => {
  const cluster = sampleCluster({ state: 'creating', endpoints: [sampleEndpoint('read', 5001)] })
  assert.throws(() => endpointAddresses(cluster, 'write'), { code: 'wrong-state' })
  assert.deepEqual(endpointAddresses(cluster, 'read'), [{ host: '127.42.0.4', port: 5001 }])
})

test('the role that came with the cluster is the default', () => {
  const kept = ['first', 'second'].map((role) => ({ role, password: 'p', database: null }))
  assert.equal(chooseCredentials(kept, undefined)?.role, 'first')
  assert.equal(chooseCredentials(kept, 'second')?.role, 'second')
  assert.equal(chooseCredentials(kept, 'third'), undefined)
})
