// Owns the certificate of a peer that speaks TLS: one self-signed authority that is also the
// server's, made for the run and thrown away with its directory.
import { chown, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runAs } from '../background-process.ts'
import { PEER_SUBNET, type PeerPlace } from './patroni-cluster.ts'
import type { PeerTls } from './peer-gateway.ts'

export async function makePeerTls(place: PeerPlace): Promise<PeerTls & { caPem: string }> {
  const { user, directory, firstAddress } = place
  const certificateFile = join(directory, 'peer.crt')
  const keyFile = join(directory, 'peer.key')
  const addresses = Array.from({ length: 10 }, (_, at) => `IP:${PEER_SUBNET}.${firstAddress + at}`)
  await runAs(user, directory, '/usr/bin/openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-days', '2', '-subj', '/CN=peer', '-keyout', keyFile, '-out', certificateFile],
    ...['-addext', `subjectAltName=${addresses.join(',')}`],
  ])
  await chown(keyFile, user.uid, user.gid)
  const caPem = await readFile(certificateFile, 'utf8')
  return { certificateFile, keyFile, caFile: certificateFile, caPem }
}
