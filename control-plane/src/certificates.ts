// Owns X.509: certificate authorities and the certificates they issue, as PEM. Keys are EC P-256.
// The platform CA signs hosts, control planes and etcd; each cluster has a CA of its own, so that a
// certificate of one cluster proves nothing to another.
import 'reflect-metadata'
import { createHash, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as never)

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' }
const SIGNING_ALGORITHM = { name: 'ECDSA', hash: 'SHA-256' }
const DAY_MS = 86_400_000
/** A clock that is a little behind must not refuse a fresh certificate. */
const BACKDATE_MS = 5 * 60_000
const CA_DAYS = 3650
/**
 * Of what nothing renews, as the services of clusters and of the dcs: as long as its authority,
 * because a certificate that ends unseen ends every connection at once.
 */
export const SERVICE_DAYS = CA_DAYS

export interface Authority {
  certificatePem: string
  keyPem: string
}

export interface Validity {
  days: number
  /** For a program that compares what it connects to with names only, an address too. */
  addressesAsNames?: boolean
}

export interface IssuedCertificate {
  certificatePem: string
  keyPem: string
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

async function newKeys(): Promise<{ keys: webcrypto.CryptoKeyPair; keyPem: string }> {
  const keys = (await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { keys, keyPem: pem('PRIVATE KEY', pkcs8) }
}

function serialNumber(): string {
  // 127 random bits: positive, and unique without a register.
  const bytes = Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)))
  bytes[0] = (bytes[0] ?? 0) & 0x7f
  return bytes.toString('hex')
}

/** `commonName` must come from our own code or be an id: it is put into the subject as it is. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const { keys, keyPem } = await newKeys()
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(now + CA_DAYS * DAY_MS),
    signingAlgorithm: SIGNING_ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificatePem: `${certificate.toString('pem')}\n`, keyPem }
}

function alternativeNames(
  names: readonly string[],
  addressesAsNames: boolean,
): x509.SubjectAlternativeNameExtension {
  return new x509.SubjectAlternativeNameExtension(
    names.map((name) => ({
      type: isIP(name) === 0 || addressesAsNames ? ('dns' as const) : ('ip' as const),
      value: name,
    })),
  )
}

async function importAuthorityKey(authority: Authority): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(authority.keyPem.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  return (await webcrypto.subtle.importKey('pkcs8', der, KEY_ALGORITHM, false, [
    'sign',
  ])) as webcrypto.CryptoKey
}

async function sign(
  authority: Authority,
  publicKey: webcrypto.CryptoKey | x509.PublicKey,
  commonName: string,
  names: readonly string[],
  { days, addressesAsNames = false }: Validity,
): Promise<string> {
  const issuer = new x509.X509Certificate(authority.certificatePem)
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [commonName] }],
    issuer: issuer.subject,
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(Math.min(now + days * DAY_MS, issuer.notAfter.getTime())),
    signingAlgorithm: SIGNING_ALGORITHM,
    publicKey: publicKey as webcrypto.CryptoKey,
    signingKey: await importAuthorityKey(authority),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      alternativeNames(names, addressesAsNames),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/**
 * A key and its certificate for a service; `names` are DNS names and addresses. It ends with its
 * authority at the latest.
 */
export async function issueCertificate(
  authority: Authority,
  commonName: string,
  names: readonly string[],
  validity: number | Validity,
): Promise<IssuedCertificate> {
  const { keys, keyPem } = await newKeys()
  const meant = typeof validity === 'number' ? { days: validity } : validity
  const certificatePem = await sign(authority, keys.publicKey, commonName, names, meant)
  return { certificatePem, keyPem }
}

/**
 * Signs a request's key and nothing else of it: name and alternative names are ours, so a request
 * cannot ask for another identity. Throws when the request is not well-formed or its own signature
 * is wrong.
 */
export async function signRequest(
  authority: Authority,
  csrPem: string,
  commonName: string,
  days: number,
): Promise<string> {
  const request = new x509.Pkcs10CertificateRequest(csrPem)
  if (!(await request.verify())) throw new Error('the certificate request is not signed by its key')
  return sign(authority, request.publicKey, commonName, [commonName], { days })
}

/** SHA-256 of the certificate's DER, hex: what an enrolment token carries. */
export function fingerprint(certificatePem: string): string {
  const der = new x509.X509Certificate(certificatePem).rawData
  return createHash('sha256').update(Buffer.from(der)).digest('hex')
}
