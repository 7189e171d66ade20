// Renders one etcd member. Clients authenticate with a user and password over TLS: the JSON gateway
// that Patroni 3 speaks cannot pass a client certificate's name on, so certificates name peers
// only.
import { stringify } from 'yaml'
import type { HostFile, HostService } from '../host-spec.ts'
import { HOST_LAYOUT } from '../host-spec.ts'
import { authority, type RenderDcs, type RenderDcsMember } from './model.ts'

const QUOTA_BYTES = 512 * 1024 * 1024
/**
 * Half of etcd's defaults. A host that is lost may take the dcs's own leader with it, and nothing
 * is decided until the others have elected one, after one to two election timeouts: that has to be
 * over when a sensitivity of `fast` has waited its second (decision 017).
 */
const HEARTBEAT_MS = 50
const ELECTION_TIMEOUT_MS = 500

export interface RenderedParts {
  directories: string[]
  files: HostFile[]
  services: HostService[]
}

export function renderEtcd(dcs: RenderDcs, member: RenderDcsMember): RenderedParts {
  const { host } = member
  const config = `${HOST_LAYOUT.config}/etcd`
  const data = `${HOST_LAYOUT.data}/etcd`
  const path = (name: string) => `${host.facts.root}/${config}/${name}`
  const clientUrl = `https://${authority(host.address, member.clientPort)}`
  const peerUrl = `https://${authority(host.address, member.peerPort)}`
  const peers = dcs.members.map(
    (peer) => `${peer.name}=https://${authority(peer.host.address, peer.peerPort)}`,
  )
  const settings = {
    name: member.name,
    'data-dir': `${host.facts.root}/${data}`,
    'listen-client-urls': clientUrl,
    'advertise-client-urls': clientUrl,
    'listen-peer-urls': peerUrl,
    'initial-advertise-peer-urls': peerUrl,
    'initial-cluster': peers.join(','),
    'initial-cluster-state': 'new',
    'initial-cluster-token': 'howdah',
    'heartbeat-interval': HEARTBEAT_MS,
    'election-timeout': ELECTION_TIMEOUT_MS,
    // Off by default in 3.4: a member that was cut off would come back with a higher term and
    // depose the leader of the others, and with it each cluster whose lease is not refreshed for
    // seconds.
    'pre-vote': true,
    'auto-compaction-mode': 'periodic',
    'auto-compaction-retention': '1h',
    'quota-backend-bytes': QUOTA_BYTES,
    // Passwords are 192 random bits: slow hashing buys nothing and costs each Patroni start 70 ms.
    'bcrypt-cost': 4,
    'enable-v2': false,
    // On by default, but not with a configuration file.
    'enable-grpc-gateway': true,
    'client-transport-security': {
      'cert-file': path('member.crt'),
      'key-file': path('member.key'),
      // No trusted-ca-file: with one, etcd wants a certificate of every client.
      'client-cert-auth': false,
    },
    'peer-transport-security': {
      'cert-file': path('member.crt'),
      'key-file': path('member.key'),
      'trusted-ca-file': path('ca.crt'),
      'client-cert-auth': true,
    },
  }
  const files: HostFile[] = [
    { path: `${config}/etcd.yml`, content: stringify(settings, { version: '1.1', lineWidth: 0 }) },
    { path: `${config}/ca.crt`, content: member.tls.caPem },
    { path: `${config}/member.crt`, content: member.tls.certificatePem },
    { path: `${config}/member.key`, content: member.tls.keyPem },
  ]
  const service: HostService = {
    name: 'etcd',
    owner: 'dcs',
    program: 'etcd',
    args: ['--config-file', path('etcd.yml')],
    env: { PATH: '/usr/bin:/bin', HOME: `${host.facts.root}/${HOST_LAYOUT.run}`, LANG: 'C.UTF-8' },
    restartOn: files.map((file) => file.path),
    reloadOn: [],
    reloadSignal: 'SIGHUP',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 10_000,
    probe: { kind: 'etcd', address: host.address, port: member.clientPort, caPem: dcs.caPem },
  }
  return { directories: [HOST_LAYOUT.data, HOST_LAYOUT.run, data], files, services: [service] }
}
