// What a hostile value of a repository can do to the program's configuration: nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Value } from 'typebox/value'
import { RepositoryCreate } from '../contract/backups.ts'
import { renderPgbackrest } from './pgbackrest.ts'
import type { S3Storage } from './repository.ts'

const place = {
  dataDirectory: '/var/lib/howdah/data/ins/pgdata',
  socketDirectory: '/var/lib/howdah/run',
  port: 5432,
  spoolDirectory: '/var/lib/howdah/data/ins/spool',
  lockDirectory: '/var/lib/howdah/data/ins/lock',
  caFile: '/var/lib/howdah/config/ins/repository-ca.crt',
  patience: 'archive' as const,
}
const storage: S3Storage = {
  kind: 's3',
  endpoint: 's3.example',
  port: 9000,
  bucket: 'backups',
  region: 'us-east-1',
  uriStyle: 'path',
  prefix: 'a/b',
  key: 'KEY',
  secret: 'SE#CR[E]T=;',
  caPem: 'PEM',
  allowPrivate: false,
}
const render = (change: Partial<S3Storage>) =>
  renderPgbackrest(
    {
      repositoryId: 'rep_1',
      clusterId: 'clu_1',
      storage: { ...storage, ...change },
      cipherPass: 'pass',
      queueBytesMax: 1024,
    },
    place,
  )

test('an S3 repository has its cluster at the end of the path, and its authority as a file', () => {
  const text = render({})
  assert.match(text, /^repo1-path=\/a\/b\/clu_1$/m)
  assert.match(text, /^repo1-s3-endpoint=s3\.example:9000$/m)
  assert.match(text, /^repo1-s3-key-secret=SE#CR\[E\]T=;$/m)
  assert.match(text, /^repo1-storage-ca-file=.*repository-ca\.crt$/m)
  assert.match(text, /^\[clu_1\]\npg1-path=/m)
  assert.match(text, /^repo1-s3-uri-style=path$/m)
  assert.match(render({ uriStyle: 'host' }), /^repo1-s3-uri-style=host$/m)
})

test('a value with a line break is refused, wherever it came from', () => {
  for (const secret of ['a\nrepo1-path=/etc', 'a\r\n[global]', 'a\u0000b', ' a', 'a ', '']) {
    assert.throws(() => render({ secret }), /BUG: the value of repo1-s3-key-secret/)
  }
})

test('two repositories stand side by side, each with its own secrets', () => {
  const first = {
    repositoryId: 'rep_1',
    clusterId: 'clu_1',
    storage: { kind: 'directory' as const, path: '/srv/backups' },
    cipherPass: 'one',
    queueBytesMax: 1024,
  }
  const second = { ...first, repositoryId: 'rep_2', storage, cipherPass: 'two' }
  const text = renderPgbackrest({ ...first, second }, { ...place, secondCaFile: '/ca-2.crt' })
  assert.match(text, /^repo1-path=\/srv\/backups\/clu_1$/m)
  assert.match(text, /^repo1-cipher-pass=one$/m)
  assert.match(text, /^repo2-cipher-pass=two$/m)
  assert.match(text, /^repo2-storage-ca-file=\/ca-2\.crt$/m)
  assert.match(text, /^repo2-s3-endpoint=s3\.example:9000$/m)
  assert.match(text, /^archive-async=y$/m)
  assert.doesNotMatch(text, /^repo1-s3/m)
})

test('beside a place that refuses a segment, another one gets those after it', () => {
  const at = (path: string) => ({
    repositoryId: 'rep_1',
    clusterId: 'clu_1',
    storage: { kind: 'directory' as const, path },
    cipherPass: 'one',
    queueBytesMax: 1024,
  })
  const [old, next] = [at('/srv/old'), at('/srv/next')]
  assert.match(renderPgbackrest(old, place), /^archive-async=n$/m)
  assert.match(renderPgbackrest({ ...old, second: next }, place), /^archive-async=y$/m)
})

test('the API lets no such value in', () => {
  const good = {
    name: 'far',
    kind: 's3',
    endpoint: 's3.example',
    bucket: 'backups',
    key: 'KEY',
    secret: 'SECRET',
  }
  assert.ok(Value.Check(RepositoryCreate, good))
  const bad = {
    endpoint: ['https://s3.example', 's3.example:9000', 'a b', 'x\ny', '-x', 'x/..'],
    bucket: ['..', 'UPPER', 'a/b', 'a\nb'],
    prefix: ['/a', 'a/', '../a', 'a//b', 'a\nb', '.a'],
    secret: ['', 'a b', 'a\nb', 'ä'],
    region: ['', 'a b', 'a\nb'],
    ca_pem: ['none', '-----BEGIN CERTIFICATE-----\n[global]'],
  }
  for (const [field, values] of Object.entries(bad)) {
    for (const value of values) {
      assert.equal(Value.Check(RepositoryCreate, { ...good, [field]: value }), false, value)
    }
  }
  const directory = { name: 'near', kind: 'directory' }
  for (const path of ['relative', '/a/../b', '/a/.', '/', '/a b', '/a\nb', '/a/']) {
    assert.equal(Value.Check(RepositoryCreate, { ...directory, path }), false, path)
  }
  assert.ok(Value.Check(RepositoryCreate, { ...directory, path: '/srv/.howdah/backups' }))
})
