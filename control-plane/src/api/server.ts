// Owns how the API is put together: OpenAPI, access, errors, and which resources there are.
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import { installAccess } from './access.ts'
import { type Api, type ApiOptions, makeApp } from './app.ts'
import { registerBackups } from './backups.ts'
import { registerClusterActions } from './cluster-actions.ts'
import { registerClusterContents } from './cluster-contents.ts'
import { registerClusters } from './clusters.ts'
import { registerDrills } from './drills.ts'
import { makeErrorHandler } from './error-handler.ts'
import { registerEvents } from './events.ts'
import { registerForks } from './forks.ts'
import { registerHosts } from './hosts.ts'
import { LOGO_SVG } from './logo.ts'
import { registerOperations } from './operations.ts'
import { registerRepositories } from './repositories.ts'
import { registerRepositoryChanges } from './repository-changes.ts'
import { registerRestores } from './restores.ts'
import { registerUsers } from './users.ts'
import { refuseUnstorableText, validatorCompiler } from './validation.ts'

async function installDocumentation(app: Api['app']): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Howdah',
        version: '1',
        description:
          'Errors are RFC 9457 problems with a stable `code` and a `hint`. Changing requests ' +
          'take `Idempotency-Key`; versioned resources have an `ETag` and want `If-Match`.',
        license: { name: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
  })
  await app.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    logo: { type: 'image/svg+xml', content: Buffer.from(LOGO_SVG), href: '/docs', target: '_self' },
    theme: {
      title: 'Howdah API',
      favicon: [
        {
          ...{ filename: 'howdah.svg', rel: 'icon', sizes: 'any', type: 'image/svg+xml' },
          content: Buffer.from(LOGO_SVG),
        },
      ],
    },
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
    registerRepositories(inner)
    registerBackups(inner)
    registerForks(inner)
    registerRepositoryChanges(inner)
    registerRestores(inner)
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
