// What somebody who is no administrator may add: only what leads where one has led before.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refuseToOperator } from './repositories.ts'

const body = {
  name: 'mine',
  kind: 's3' as const,
  endpoint: 's3.example',
  bucket: 'backups',
  key: 'KEY',
  secret: 'SECRET',
}
const present = (change: object) => [
  { kind: 'directory' as const, settings: { path: '/srv/backups' } },
  {
    kind: 's3' as const,
    settings: {
      endpoint: 's3.example',
      port: 443,
      bucket: 'first',
      region: 'us-east-1',
      uri_style: 'host' as const,
      prefix: '',
      allow_private: false,
      ca_pem: null,
      ...change,
    },
  },
]

test('an operator uses endpoints that an administrator has chosen, and no others', () => {
  assert.equal(refuseToOperator(body, present({})), undefined)
  assert.match(refuseToOperator(body, []) ?? '', /endpoint that no repository has/)
  for (const other of [{ endpoint: 'inside.example' }, { port: 8443 }]) {
    assert.match(refuseToOperator({ ...body, ...other }, present({})) ?? '', /endpoint/)
  }
  const directory = { name: 'mine', kind: 'directory' as const, path: '/etc' }
  assert.match(refuseToOperator(directory, present({})) ?? '', /directory/)
})

test('where new clusters are backed up to is for administrators to say', () => {
  assert.match(refuseToOperator({ ...body, default: true }, present({})) ?? '', /the default/)
  assert.equal(refuseToOperator({ ...body, default: false }, present({})), undefined)
})

test('a private network is allowed for an endpoint, not by who uses it', () => {
  const wish = { ...body, allow_private: true }
  assert.match(refuseToOperator(wish, present({})) ?? '', /private network/)
  assert.equal(refuseToOperator(wish, present({ allow_private: true })), undefined)
})
