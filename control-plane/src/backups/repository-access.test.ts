// Proves, without a store, which name an agent looks up before it goes to a repository, and how
// much WAL may wait for one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import type { HostRow } from '../db/hosts.ts'
import { accessOn, placeOn, queueBytesMax, toStorage } from './repository-access.ts'

const settings = {
  endpoint: 's3.example',
  port: 443,
  bucket: 'backups',
  region: 'us-east-1',
  prefix: '',
  allow_private: false,
  ca_pem: null,
}

function repository(uri_style: 'host' | 'path'): RenderRepository {
  const storage = toStorage({ ...settings, uri_style }, { key: 'KEY', secret: 'SECRET' })
  return { repositoryId: 'rep_1', clusterId: 'clu_1', storage, cipherPass: 'x', queueBytesMax: 1 }
}

test('the name that is checked is the one that is asked, with the bucket or without', () => {
  const place = placeOn({ facts: { root: '/srv/host' } } as HostRow, 'ins_1', 5432)
  const host = (style: 'host' | 'path') => accessOn(repository(style), place).endpoint?.host
  assert.equal(host('path'), 's3.example')
  assert.equal(host('host'), 'backups.s3.example')
})

test('WAL that waits fills a fifth of what an instance may, and is bounded both ways', () => {
  const mib = 1024 * 1024
  assert.equal(queueBytesMax({ diskBytes: 100_000 * mib }), 20_000 * mib)
  assert.equal(queueBytesMax({ diskBytes: 1000 * mib }), 512 * mib)
  assert.equal(queueBytesMax({ diskBytes: 10_000_000 * mib }), 65_536 * mib)
  assert.equal(queueBytesMax(null), 512 * mib)
})
