// Owns who this host is to the platform: its private key, made here and never sent, the
// certificate for it, and the CA that it trusts. The three are one file, so that a crash can never
// pair a new key with an old certificate.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { readFileIfPresent, writeFileAtomic } from './atomic-file.ts'
import type { HostRoot } from './host-root.ts'

const Identity = Type.Object({
  hostId: Type.String(),
  privateKeyPem: Type.String(),
  certificatePem: Type.String(),
  caPem: Type.String(),
})
export type Identity = Static<typeof Identity>

function identityPath(root: HostRoot): string {
  return join(root.path, HOST_LAYOUT.agent, 'identity.json')
}

/** Undefined before enrolment. */
export async function loadIdentity(root: HostRoot): Promise<Identity | undefined> {
  const text = await readFileIfPresent(identityPath(root))
  if (text === undefined) return undefined
  const parsed: unknown = JSON.parse(text)
  if (!Value.Check(Identity, parsed)) throw new Error(`${identityPath(root)} is damaged`)
  return parsed
}

export async function saveIdentity(root: HostRoot, identity: Identity): Promise<void> {
  await writeFileAtomic(identityPath(root), JSON.stringify(identity), { mode: 0o600 })
}

/** Throws unless the certificate is for our key and host and comes from a CA of the bundle. */
export function checkIdentity(identity: Identity): void {
  const certificate = new X509Certificate(identity.certificatePem)
  const key = createPrivateKey(identity.privateKeyPem)
  if (!certificate.checkPrivateKey(key)) throw new Error('the certificate is for another key')
  const name = /(?:^|\n)CN=([^\n]*)/.exec(certificate.subject)?.[1]
  if (name !== identity.hostId) {
    throw new Error(`the certificate is for ${JSON.stringify(name)}, not ${identity.hostId}`)
  }
  const issued = splitPem(identity.caPem).some((pem) => {
    const authority = new X509Certificate(pem)
    return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
  })
  if (!issued) throw new Error('the certificate does not come from the CA that came with it')
}

/** Each certificate of a PEM bundle. */
export function splitPem(bundle: string): string[] {
  return bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
}

/** When to renew: after two thirds of the certificate's life, in ms since epoch. */
export function renewalTimeMs(identity: Identity): number {
  const { validFrom, validTo } = new X509Certificate(identity.certificatePem)
  const fromMs = Date.parse(validFrom)
  return fromMs + ((Date.parse(validTo) - fromMs) * 2) / 3
}
