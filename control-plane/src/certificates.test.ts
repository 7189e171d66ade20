// Proves certificates with others' eyes: Node's parser, TLS itself, and openssl as the strictest
// reader of the chain.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import {
  createAuthority,
  fingerprint,
  type IssuedCertificate,
  issueCertificate,
  SERVICE_DAYS,
  signRequest,
} from './certificates.ts'

const run = promisify(execFile)
const authority = await createAuthority('howdah test')
const DAY_MS = 86_400_000

async function withFiles<T>(files: Record<string, string>, use: (directory: string) => Promise<T>) {
  const directory = await mkdtemp('/tmp/howdah-test-')
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
    return await use(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** A request as openssl makes it, with every wish that one can put into it. */
function makeRequest(): Promise<string> {
  const wishes = [
    '-addext',
    'subjectAltName=DNS:wish.example',
    '-addext',
    'basicConstraints=CA:TRUE',
  ]
  return withFiles({}, async (directory) => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const argv = ['req', '-new', ...key, '-keyout', join(directory, 'key'), '-subj', '/CN=wish']
    return (await run('openssl', [...argv, ...wishes])).stdout
  })
}

test('openssl accepts the chain for a server and a client, and nothing else as a CA', async () => {
  const issued = await issueCertificate(authority, 'demo-1', ['127.0.0.1', 'localhost'], 1)
  const other = await createAuthority('howdah test')
  const files = {
    ca: authority.certificatePem,
    leaf: issued.certificatePem,
    other: other.certificatePem,
  }
  await withFiles(files, async (directory) => {
    const verify = (ca: string, purpose: string) => {
      const path = (name: string) => join(directory, name)
      const strict = ['verify', '-x509_strict', '-purpose', purpose]
      return run('openssl', [...strict, '-CAfile', path(ca), path('leaf')])
    }
    assert.match((await verify('ca', 'sslserver')).stdout, /: OK/)
    assert.match((await verify('ca', 'sslclient')).stdout, /: OK/)
    // The same name with another key proves nothing.
    await assert.rejects(verify('other', 'sslserver'))
    await assert.rejects(verify('leaf', 'sslserver'))
  })
})

test('an authority can sign leaves only, and a leaf nothing', async () => {
  const issued = await issueCertificate(authority, 'demo-1', ['localhost'], 1)
  assert.equal(new X509Certificate(authority.certificatePem).ca, true)
  assert.equal(new X509Certificate(issued.certificatePem).ca, false)
})

test('a service’s certificate ends with its authority, and not before', async () => {
  const { certificatePem } = await issueCertificate(authority, 'a', ['localhost'], SERVICE_DAYS)
  const { validTo } = new X509Certificate(certificatePem)
  assert.equal(validTo, new X509Certificate(authority.certificatePem).validTo)
})

test('names, key and time are what was asked for', async () => {
  const { certificatePem, keyPem } = await issueCertificate(
    authority,
    'demo-1',
    ['::1', 'db.example'],
    3,
  )
  const certificate = new X509Certificate(certificatePem)
  assert.equal(certificate.subject, 'CN=demo-1')
  assert.equal(certificate.checkIP('::1'), '::1')
  assert.equal(certificate.checkHost('db.example'), 'db.example')
  assert.equal(certificate.checkHost('other.example'), undefined)
  assert.equal(certificate.checkPrivateKey(createPrivateKey(keyPem)), true)
  const untilMs = Date.parse(certificate.validTo) - Date.now()
  assert.ok(untilMs > 2.99 * DAY_MS && untilMs <= 3 * DAY_MS)
  assert.ok(Date.parse(certificate.validFrom) <= Date.now() - 60_000)
})

test('serial numbers are positive and never the same', async () => {
  const issued = await Promise.all(
    Array.from({ length: 20 }, () => issueCertificate(authority, 'a', ['localhost'], 1)),
  )
  const serials = issued.map(
    ({ certificatePem }) => new X509Certificate(certificatePem).serialNumber,
  )
  assert.equal(new Set(serials).size, 20)
})

test('a request gives its key and nothing else: name and rights are ours', async () => {
  const signed = new X509Certificate(await signRequest(authority, await makeRequest(), 'hst_1', 1))
  assert.equal(signed.subject, 'CN=hst_1')
  assert.equal(signed.ca, false)
  assert.equal(signed.checkHost('wish.example'), undefined)
  assert.equal(signed.checkHost('hst_1'), 'hst_1')
})

test('a request that is broken, or not signed by its own key, is refused', async () => {
  const request = await makeRequest()
  const der = Buffer.from(request.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const last = der.length - 1
  der[last] = (der[last] as number) ^ 1
  const frame = (text: string) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`
  const forged = frame(der.toString('base64'))
  const wrong = ['', 'x', request.slice(0, 100), forged, frame('AAAA'), authority.certificatePem]
  for (const text of wrong) await assert.rejects(signRequest(authority, text, 'hst_1', 1))
})

/** The name that a server sees of a client, or undefined when it does not trust it. */
async function nameSeen(server: IssuedCertificate, client: IssuedCertificate) {
  const listener = createServer({
    cert: server.certificatePem,
    key: server.keyPem,
    ca: authority.certificatePem,
    requestCert: true,
    rejectUnauthorized: false,
  })
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  const accepted = once(listener, 'secureConnection')
  const outgoing = connect({
    port: (listener.address() as AddressInfo).port,
    host: '127.0.0.1',
    ca: authority.certificatePem,
    cert: client.certificatePem,
    key: client.keyPem,
  })
  await once(outgoing, 'secureConnect')
  const [socket] = (await accepted) as [TLSSocket]
  const name = socket.authorized ? socket.getPeerCertificate().subject.CN : undefined
  outgoing.destroy()
  socket.destroy()
  listener.close()
  return name
}

test('TLS trusts a certificate of ours, and not one of a namesake of our authority', async () => {
  const server = await issueCertificate(authority, 'server', ['127.0.0.1'], 1)
  const client = await issueCertificate(authority, 'hst_1', ['hst_1'], 1)
  const stranger = await issueCertificate(
    await createAuthority('howdah test'),
    'hst_1',
    ['hst_1'],
    1,
  )
  const expired = await issueCertificate(authority, 'hst_1', ['hst_1'], 0)
  assert.equal(await nameSeen(server, client), 'hst_1')
  assert.equal(await nameSeen(server, stranger), undefined)
  assert.equal(await nameSeen(server, expired), undefined)
})

test('the fingerprint is that of openssl', async () => {
  const digest = await withFiles({ ca: authority.certificatePem }, async (directory) => {
    const argv = ['x509', '-noout', '-fingerprint', '-sha256', '-in', join(directory, 'ca')]
    return (await run('openssl', argv)).stdout
  })
  const expected = digest.split('=')[1]?.replaceAll(':', '').trim().toLowerCase()
  assert.equal(fingerprint(authority.certificatePem), expected)
})
