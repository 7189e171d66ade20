// Proves endpoint-check without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkEndpoint, refuseAddress } from './endpoint-check.ts'

test('addresses of the own network are refused unless they are allowed', () => {
  const inside = ['127.0.0.1', '10.1.2.3', '192.168.0.9', '172.31.0.1', '::1', 'fd00::1']
  for (const address of [...inside, '::ffff:127.0.0.1', '::ffff:7f00:1', '64:ff9b::a00:1']) {
    assert.match(refuseAddress(address, false) ?? '', /private network/)
    assert.equal(refuseAddress(address, true), undefined)
  }
})

test('metadata services and addresses of nobody are refused in any case', () => {
  const metadata = ['169.254.169.254', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254']
  const translated = ['64:ff9b::a9fe:a9fe', '64:ff9b::169.254.169.254']
  const nobody = ['0.0.0.0', '224.0.0.1', 'fe80::1', 'ff02::1', '::']
  for (const address of [...metadata, ...translated, ...nobody]) {
    assert.match(refuseAddress(address, true) ?? '', /no address of a repository/)
  }
})

test('public addresses may be', () => {
  for (const address of ['52.218.0.1', '2600:9000::1', '172.32.0.1', '64:ff9b::34da:1']) {
    assert.equal(refuseAddress(address, false), undefined)
  }
})

test('a name is judged by what it stands for now', async () => {
  await assert.rejects(checkEndpoint({ host: 'localhost', allowPrivate: false }), {
    code: 'refused',
  })
  await checkEndpoint({ host: 'localhost', allowPrivate: true })
})
