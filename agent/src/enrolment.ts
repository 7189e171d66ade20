// Owns how a host joins: the token carries the digest of the platform's CA, so the very first
// connection can already be verified, and the secret goes to nobody but the platform.
import { createHash, X509Certificate } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { connect } from 'node:tls'
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { ENROLMENT_TOKEN_PATTERN, EnrolReply, PROTOCOL_PATH } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import { Value } from 'typebox/value'
import { readFileIfPresent } from './atomic-file.ts'
import { makeBackoff } from './backoff.ts'
import type { HostRoot } from './host-root.ts'
import { makeHttpsAgent, sendRequest } from './https-request.ts'
import { checkIdentity, type Identity, loadIdentity, saveIdentity, splitPem } from './identity.ts'
import { createSigningRequest } from './signing-request.ts'
import { pause } from './wake.ts'

const CONNECT_TIMEOUT_MS = 5000
const ENROL_TIMEOUT_MS = 15_000
const REPLY_BYTES_MAX = 262_144
const CHAIN_LENGTH_MAX = 8

export interface EnrolmentNeeds {
  root: HostRoot
  controlPlanes: readonly string[]
  tokenFile: string | undefined
  log: Logger
  signal: AbortSignal
}

/**
 * The identity of this host; enrols first when there is a token, and retries until it is enrolled
 * or `signal` aborts (then undefined). A token that is refused while a working identity exists is a
 * token that an earlier start has used up: the crash came between storing and removing.
 */
export async function obtainIdentity(needs: EnrolmentNeeds): Promise<Identity | undefined> {
  const { root, log, signal } = needs
  const backoff = makeBackoff({ minMs: 250, maxMs: 5000 })
  const held = await loadIdentity(root)
  while (!signal.aborted) {
    try {
      const token = await readToken(needs.tokenFile)
      if (token === undefined && held !== undefined) return held
      if (token === undefined) {
        throw new HowdahError('enrolment-refused', 'this host is not enrolled and has no token')
      }
      const identity = await enrolAnywhere(needs.controlPlanes, token)
      await saveIdentity(root, identity)
      await removeToken(needs.tokenFile)
      log.info({ host: identity.hostId }, 'enrolled')
      return identity
    } catch (error) {
      const refused = error instanceof HowdahError && error.code === 'enrolment-refused'
      log.warn({ error: describeError(error) }, 'enrolment failed')
      if (held !== undefined) {
        if (refused) await removeToken(needs.tokenFile)
        return held
      }
    }
    await pause(backoff.nextMs(), signal)
  }
  return undefined
}

async function readToken(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  const token = (await readFileIfPresent(path))?.trim()
  if (token === undefined || token === '') return undefined
  if (!new RegExp(ENROLMENT_TOKEN_PATTERN).test(token)) {
    throw new HowdahError('preflight-failed', `${path} does not hold an enrolment token`)
  }
  return token
}

async function removeToken(path: string | undefined): Promise<void> {
  if (path !== undefined) await rm(path, { force: true })
}

async function enrolAnywhere(urls: readonly string[], token: string): Promise<Identity> {
  const failures: string[] = []
  for (const url of urls) {
    try {
      return await enrol(url, token)
    } catch (error) {
      // The token works once, whichever control plane is asked: a refusal is final.
      if (error instanceof HowdahError && error.code === 'enrolment-refused') throw error
      failures.push(`${url}: ${describeError(error)}`)
    }
  }
  throw new Error(failures.join('; '))
}

/** Exchanges the token for an identity at one control plane. */
export async function enrol(url: string, token: string): Promise<Identity> {
  const digest = token.slice(token.lastIndexOf('.') + 1)
  const authority = await fetchAuthority(new URL(url), digest)
  const { csrPem, privateKeyPem } = createSigningRequest('howdah-agent')
  const agent = makeHttpsAgent({ caPem: authority, checkName: true })
  try {
    const response = await sendRequest({
      agent,
      url: `${url}${PROTOCOL_PATH}/enrol`,
      method: 'POST',
      body: { token, csrPem },
      timeoutMs: ENROL_TIMEOUT_MS,
      responseBytesMax: REPLY_BYTES_MAX,
    })
    if (response.status === 401 || response.status === 403) {
      throw new HowdahError('enrolment-refused', 'the control plane refused the token')
    }
    if (response.status !== 200) throw new Error(`the control plane answered ${response.status}`)
    const reply: unknown = JSON.parse(response.text)
    if (!Value.Check(EnrolReply, reply)) throw new Error('the reply does not fit the schema')
    if (!splitPem(reply.caPem).some((pem) => digestOf(pem) === digest)) {
      throw new Error('the reply names a CA other than the one of the token')
    }
    const identity = { ...reply, privateKeyPem }
    checkIdentity(identity)
    return identity
  } finally {
    agent.destroy()
  }
}

function digestOf(pem: string): string {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex')
}

/**
 * The CA with this digest out of the chain that the server presents. Nothing is sent over this
 * connection, which trusts nobody; the next one verifies the server against the CA in full.
 */
async function fetchAuthority(url: URL, digest: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const port = Number(url.port || 443)
    const socket = connect({ host, port, rejectUnauthorized: false })
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('no TLS in time')))
    socket.on('error', reject)
    socket.on('secureConnect', () => {
      let found = socket.getPeerCertificate(true)
      for (let depth = 0; depth < CHAIN_LENGTH_MAX && found?.raw !== undefined; depth += 1) {
        const certificate = new X509Certificate(found.raw)
        const matches = createHash('sha256').update(found.raw).digest('hex') === digest
        if (matches && certificate.ca) {
          resolve(certificate.toString())
          break
        }
        if (found.issuerCertificate === found) break
        found = found.issuerCertificate
      }
      socket.destroy()
      reject(new Error('the server does not present the CA that the token names'))
    })
  })
}
