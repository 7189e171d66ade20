// Owns an etcd for tests: one member with TLS and no authentication yet, in a directory of its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectEtcd, toBase64 } from '../dcs/etcd-client.ts'
import type { TestAuthority } from './test-authority.ts'

export interface TestEtcd {
  url: string
  kill(signal: 'SIGSTOP' | 'SIGCONT'): boolean
  close(): Promise<void>
}

/** Resolves when it answers. */
export async function startTestEtcd(address: string, authority: TestAuthority): Promise<TestEtcd> {
  const directory = await mkdtemp('/tmp/hwd-etcd-')
  const server = await authority.issueServer(address)
  await writeFile(join(directory, 'server.pem'), server.certificatePem)
  await writeFile(join(directory, 'server.key'), server.privateKeyPem, { mode: 0o600 })
  const url = `https://${address}:2379`
  const peerUrl = `http://${address}:2380`
  const args = [
    ['--name', 'one', '--data-dir', join(directory, 'data')],
    ['--listen-client-urls', url, '--advertise-client-urls', url],
    ['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ['--initial-cluster', `one=${peerUrl}`],
    ['--cert-file', join(directory, 'server.pem'), '--key-file', join(directory, 'server.key')],
  ]
  const etcd = spawn('etcd', args.flat(), { stdio: 'ignore', env: { PATH: '/usr/bin' } })
  const access = { endpoints: [url], caPem: authority.caPem }
  const client = connectEtcd(access, AbortSignal.timeout(20_000))
  await client.call('kv/range', { key: toBase64('/') })
  client.close()
  return {
    url,
    kill: (signal) => etcd.kill(signal),
    async close() {
      etcd.kill('SIGKILL')
      if (etcd.exitCode === null && etcd.signalCode === null) await once(etcd, 'exit')
      await rm(directory, { recursive: true, force: true })
    },
  }
}
