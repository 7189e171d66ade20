// Owns the certificate that the control plane shows people and agents: issued at its start and
// again each day, so that one that runs for months outlives it. Nobody is asked for it, and
// connections that are open go on.
import { describeError } from '@howdah/core/errors.ts'
import { type Authority, type IssuedCertificate, issueCertificate } from './certificates.ts'
import type { Config } from './config.ts'
import type { Log } from './log.ts'

const DAYS = 90
const RENEW_EVERY_MS = 24 * 3600 * 1000

type Names = Pick<Config, 'apiAddress' | 'agentAddress' | 'publicNames'>

export function issueServerCertificate(
  { apiAddress, agentAddress, publicNames }: Names,
  authority: Authority,
): Promise<IssuedCertificate> {
  const names = [
    'localhost',
    '127.0.0.1',
    apiAddress,
    agentAddress,
    ...publicNames.split(',').map((name) => name.trim()),
  ].filter((name) => name !== '' && name !== '0.0.0.0' && name !== '::')
  return issueCertificate(authority, 'howdah', [...new Set(names)], DAYS)
}

export interface Renewal {
  issue(): Promise<IssuedCertificate>
  /** Of whoever listens; new connections get it. */
  show(issued: IssuedCertificate): void
  log: Pick<Log, 'warn'>
}

/** A failed renewal is tried again a day later; the present certificate lasts for months. */
export function renewDaily(
  { issue, show, log }: Renewal,
  everyMs = RENEW_EVERY_MS,
): { stop(): void } {
  const renew = async () => show(await issue())
  const timer = setInterval(() => {
    renew().catch((error: unknown) =>
      log.warn(
        { error: describeError(error) },
        'the certificate of the control plane is not renewed',
      ),
    )
  }, everyMs)
  return { stop: () => clearInterval(timer) }
}
