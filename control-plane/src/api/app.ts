// Owns the HTTP application that the API's resources register their routes on: TLS and limits, and
// what each `register…` function is given. It knows no resource.
import type { SecureContextOptions } from 'node:tls'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { newId } from '@howdah/core/ids.ts'
import fastify, { LogController } from 'fastify'
import type { IssuedCertificate } from '../certificates.ts'
import type { Operations } from '../operations/engine.ts'
import type { Platform } from '../operations/operation.ts'
import { answerUnreadable, makeErrorHandler } from './error-handler.ts'

const BODY_BYTES_MAX = 1024 * 1024
const REQUEST_TIMEOUT_MS = 30_000

export interface ApiOptions {
  platform: Platform
  operations: Operations
  /** SHA-256 of the platform CA, for enrolment tokens. */
  caFingerprint: string
  tls: SecureContextOptions
}

export function apiTls({ certificatePem, keyPem }: IssuedCertificate): SecureContextOptions {
  return { cert: certificatePem, key: keyPem, minVersion: 'TLSv1.2' }
}

export function makeApp({ platform, tls }: ApiOptions) {
  return fastify({
    loggerInstance: platform.log.child({ listener: 'api' }),
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => newId('request'),
    requestIdHeader: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    // What fails before there is a route (a broken escape, a name that is too long) is answered
    // like the rest.
    frameworkErrors: makeErrorHandler(platform.log),
    clientErrorHandler: answerUnreadable,
    routerOptions: { maxParamLength: 300 },
    https: tls,
  }).withTypeProvider<TypeBoxTypeProvider>()
}

/** What a resource's `register…` function gets. */
export interface Api {
  app: ReturnType<typeof makeApp>
  platform: Platform
  operations: Operations
  caFingerprint: string
}
