// Owns /v1/events and its stream. The stream is server-sent events: the id is the cursor, so a
// client that reconnects with Last-Event-ID misses nothing and sees nothing twice.
import { Event } from '@howdah/core/contract/operations.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { findCluster } from '../db/clusters.ts'
import { listEvents, newestEventId } from '../db/events.ts'
import type { Platform } from '../operations/operation.ts'
import type { Api } from './app.ts'

const KEEPALIVE_MS = 15_000
const BATCH = 200
const EventId = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Filter = {
  cluster: Type.Optional(ResourceRef),
  operation: Type.Optional(ResourceRef),
}
const ListQuery = Type.Object({
  ...Filter,
  after: Type.Optional(EventId),
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
})
const StreamQuery = Type.Object({
  ...Filter,
  after: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'Replay what came after; left out: from now on. Last-Event-ID wins',
    }),
  ),
})
const tags = ['events']

async function clusterIdOf(platform: Platform, reference: string | undefined) {
  if (reference === undefined) return undefined
  return (await findCluster(platform.database, reference))?.id ?? reference
}

export function registerEvents({ app, platform }: Api): void {
  app.get(
    '/v1/events',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List events, the oldest first',
        querystring: ListQuery,
        response: { 200: Type.Object({ data: Type.Array(Event), last_id: Type.String() }) },
      },
    },
    async ({ query }) => {
      const data = await listEvents(platform.database, {
        after: query.after ?? 0,
        clusterId: await clusterIdOf(platform, query.cluster),
        operationId: query.operation,
        limit: query.limit,
      })
      return { data, last_id: data.at(-1)?.id ?? String(query.after ?? 0) }
    },
  )

  app.get(
    '/v1/events/stream',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Follow events (server-sent events)',
        querystring: StreamQuery,
        produces: ['text/event-stream'],
      },
    },
    async (request, reply) => {
      const { cluster, operation, after } = request.query
      const filter = { clusterId: await clusterIdOf(platform, cluster), operationId: operation }
      const cursor = lastEventId(request) ?? after ?? (await newestEventId(platform.database))
      await stream(platform, request, reply, cursor, filter)
      return reply
    },
  )
}

function lastEventId(request: FastifyRequest): number | undefined {
  const header = request.headers['last-event-id']
  return typeof header === 'string' && /^[0-9]{1,15}$/.test(header) ? Number(header) : undefined
}

async function stream(
  platform: Platform,
  request: FastifyRequest,
  reply: FastifyReply,
  start: number,
  filter: { clusterId: string | undefined; operationId: string | undefined },
): Promise<void> {
  reply.hijack()
  const raw = reply.raw
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-request-id': request.id,
  })
  raw.write(': howdah\n\n')
  const gone = new AbortController()
  raw.on('close', () => gone.abort())
  let cursor = start
  try {
    while (!gone.signal.aborted) {
      const batch = await platform.changes.waitUntil(
        ['events'],
        Date.now() + KEEPALIVE_MS,
        async () => {
          const query = { after: cursor, ...filter, limit: BATCH }
          const events = await listEvents(platform.database, query)
          return events.length > 0 ? events : undefined
        },
        gone.signal,
      )
      if (batch === undefined) raw.write(': still here\n\n')
      for (const event of batch ?? []) {
        cursor = Number(event.id)
        const text = `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`
        // A client that does not read must not fill our memory.
        if (!raw.write(text)) await drained(raw, gone.signal)
      }
    }
  } catch (error) {
    platform.log.warn({ request: request.id, error: String(error) }, 'event stream ended early')
  } finally {
    raw.end()
  }
}

function drained(raw: FastifyReply['raw'], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    raw.once('drain', resolve)
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
