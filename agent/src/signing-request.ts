// Owns the certificate signing request (PKCS #10) of a host: one fixed shape with one kind of key,
// so a few lines of DER replace an ASN.1 library that weighs as much as the rest of the agent.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export interface SigningRequest {
  csrPem: string
  privateKeyPem: string
}

const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 0x02
const BIT_STRING = 0x03
const OBJECT_IDENTIFIER = 0x06
const UTF8_STRING = 0x0c
const ATTRIBUTES = 0xa0
const COMMON_NAME = Buffer.from('550403', 'hex')
const ECDSA_WITH_SHA256 = Buffer.from('2a8648ce3d040302', 'hex')

/** A new EC P-256 key and a request for it. The name in it is a wish: the platform decides. */
export function createSigningRequest(commonName: string): SigningRequest {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const information = der(SEQUENCE, [
    der(INTEGER, [Buffer.from([0])]),
    name(commonName),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(ATTRIBUTES, []),
  ])
  const request = der(SEQUENCE, [
    information,
    der(SEQUENCE, [der(OBJECT_IDENTIFIER, [ECDSA_WITH_SHA256])]),
    der(BIT_STRING, [Buffer.from([0]), signatureOf(information, privateKey)]),
  ])
  return {
    csrPem: pem('CERTIFICATE REQUEST', request),
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

function signatureOf(information: Buffer, privateKey: KeyObject): Buffer {
  return sign('sha256', information, { key: privateKey, dsaEncoding: 'der' })
}

function name(commonName: string): Buffer {
  const attribute = der(SEQUENCE, [
    der(OBJECT_IDENTIFIER, [COMMON_NAME]),
    der(UTF8_STRING, [Buffer.from(commonName, 'utf8')]),
  ])
  return der(SEQUENCE, [der(SET, [attribute])])
}

/** Tag, length, content. Lengths of up to 65,535 bytes, far above what a request has. */
function der(tag: number, parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  if (length > 0xffff) throw new Error('BUG: a signing request larger than any')
  const long = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...(length < 0x80 ? [length] : long)]), content])
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}
