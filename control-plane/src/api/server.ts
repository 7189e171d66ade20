// Owns the API's HTTP side: TLS, OpenAPI, access, errors and limits, and which resources there are.
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import fastify from 'fastify'
import { Type } from 'typebox'
import type { Operations } from '../operations/engine.ts'
import type { Platform } from '../operations/operation.ts'
import { installAccess } from './access.ts'
import { registerClusterActions } from './cluster-actions.ts'
import { registerClusterContents } from './cluster-contents.ts'
import { registerClusters } from './clusters.ts'
import { registerDrills } from './drills.ts'
import { answerUnreadable, makeErrorHandler } from './error-handler.ts'
import { registerEvents } from './events.ts'
import { registerHosts } from './hosts.ts'
import { registerOperations } from './operations.ts'
import { registerUsers } from './users.ts'
import { refuseUnstorableText, validatorCompiler } from './validation.ts'

const BODY_BYTES_MAX = 1024 * 1024
const REQUEST_TIMEOUT_MS = 30_000

export interface ApiOptions {
  platform: Platform
  operations: Operations
  /** SHA-256 of the platform CA, for enrolment tokens. */
  caFingerprint: string
  tls: { certificatePem: string; keyPem: string }
}

function makeApp({ platform, tls }: ApiOptions) {
  return fastify({
    loggerInstance: platform.log.child({ listener: 'api' }),
    disableRequestLogging: true,
    genReqId: () => newId('request'),
    requestIdHeader: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    // What fails before there is a route (a broken escape, a name that is too long) is answered like the rest.
    frameworkErrors: makeErrorHandler(platform.log),
    clientErrorHandler: answerUnreadable,
    routerOptions: { maxParamLength: 300 },
    https: { cert: tls.certificatePem, key: tls.keyPem, minVersion: 'TLSv1.2' },
  }).withTypeProvider<TypeBoxTypeProvider>()
}

/** What a resource's `register…` function gets. */
export interface Api {
  app: ReturnType<typeof makeApp>
  platform: Platform
  operations: Operations
  caFingerprint: string
}

async function installDocumentation(app: Api['app']): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Howdah',
        version: '1',
        description:
          'Errors are RFC 9457 problems with a stable `code` and a `hint`. Changing requests take ' +
          '`Idempotency-Key`; versioned resources have an `ETag` and want `If-Match`.',
        license: { name: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
  })
  await app.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    theme: { title: 'Howdah API' },
  })
}

export async function makeApi(options: ApiOptions): Promise<Api['app']> {
  const { platform } = options
  const app = makeApp(options)
  app.setValidatorCompiler(validatorCompiler as never)
  app.setErrorHandler(makeErrorHandler(platform.log))
  app.removeContentTypeParser('text/plain')
  app.setNotFoundHandler((request) => {
    throw new HowdahError('not-found', `there is no route ${request.method} ${request.url}`)
  })
  // The documentation's own routes do not know our config: they are public, as the source is.
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith('/docs')) route.config = { ...route.config, access: 'public' }
  })
  installAccess(app as never, platform.database)
  app.addHook('preValidation', refuseUnstorableText)
  app.addHook('onSend', async (request, reply) => {
    reply.header('x-request-id', request.id)
    if (!request.url.startsWith('/docs')) reply.header('cache-control', 'no-store')
  })
  await installDocumentation(app)
  const api: Api = { ...options, app }
  await app.register(async (scope) => {
    const inner: Api = { ...api, app: scope as unknown as Api['app'] }
    registerHealth(inner)
    registerUsers(inner)
    registerHosts(inner)
    registerClusters(inner)
    registerClusterContents(inner)
    registerClusterActions(inner)
    registerDrills(inner)
    registerOperations(inner)
    registerEvents(inner)
  })
  return app
}

function registerHealth({ app, platform }: Api): void {
  app.get(
    '/v1/health',
    {
      config: { access: 'public' },
      schema: {
        tags: ['platform'],
        summary: 'Whether this control plane can do its work',
        security: [],
        response: { 200: Type.Object({ status: Type.Literal('ok') }) },
      },
    },
    async () => {
      await platform.database.query('select 1')
      return { status: 'ok' as const }
    },
  )
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () =>
    app.swagger(),
  )
}
