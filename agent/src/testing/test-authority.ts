// Owns the certificates of the agent's tests: a CA, server certificates with an address in them,
// and host certificates for signing requests.
import 'reflect-metadata'
import { createHash, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

const SIGNING = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

export interface TestAuthority {
  caPem: string
  caDigest: string
  issueServer(address: string): Promise<{ certificatePem: string; privateKeyPem: string }>
  signRequest(csrPem: string, hostId: string, lifeMs: number): Promise<string>
}

export async function makeTestAuthority(): Promise<TestAuthority> {
  const keys = await webcrypto.subtle.generateKey(SIGNING, true, ['sign', 'verify'])
  const now = Date.now()
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Test CA',
    serialNumber: '01',
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + 3_600_000),
    keys,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  let serial = 16

  async function issue(
    name: string,
    publicKey: x509.PublicKeyType,
    lifeMs: number,
    extensions: x509.Extension[],
  ): Promise<string> {
    serial += 1
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial.toString(16),
      subject: `CN=${name}`,
      issuer: ca.subject,
      notBefore: new Date(Date.now() - 1000),
      notAfter: new Date(Date.now() + lifeMs),
      publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: SIGNING,
      extensions,
    })
    return certificate.toString('pem')
  }

  return {
    caPem: ca.toString('pem'),
    caDigest: createHash('sha256').update(Buffer.from(ca.rawData)).digest('hex'),
    async issueServer(address) {
      const pair = await webcrypto.subtle.generateKey(SIGNING, true, ['sign', 'verify'])
      const san = new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: address }])
      const certificatePem = await issue(address, pair.publicKey, 3_600_000, [san])
      const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', pair.privateKey))
      const privateKeyPem = x509.PemConverter.encode(der, 'PRIVATE KEY')
      return { certificatePem, privateKeyPem }
    },
    async signRequest(csrPem, hostId, lifeMs) {
      const request = new x509.Pkcs10CertificateRequest(csrPem)
      if (!(await request.verify())) throw new Error('the request does not verify')
      return await issue(hostId, request.publicKey, lifeMs, [])
    },
  }
}
