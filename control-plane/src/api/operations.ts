// Owns /v1/operations.
import { Operation, OperationState } from '@howdah/core/contract/operations.ts'
import { PageQuery, pageOf, ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { Type } from 'typebox'
import type { Queryable } from '../database.ts'
import { findCluster } from '../db/clusters.ts'
import {
  findOperation,
  listOperations,
  listSteps,
  type OperationRow,
  refuseSecond,
  requestCancel,
  resetForRetry,
  setOperationState,
  toOperation,
} from '../db/operations.ts'
import type { Api } from './app.ts'
import { mutate } from './mutation.ts'
import { parseCursor, toPage } from './page.ts'

const Params = Type.Object({ operation: ResourceRef })
const ListQuery = Type.Object({
  ...PageQuery.properties,
  cluster: Type.Optional(ResourceRef),
  state: Type.Optional(OperationState),
})
const tags = ['operations']

async function requireOperation(db: Queryable, id: string): Promise<OperationRow> {
  const row = await findOperation(db, id)
  if (row === undefined) throw new HowdahError('not-found', `there is no operation ${id}`)
  return row
}

async function show(db: Queryable, id: string): Promise<Operation> {
  return toOperation(await requireOperation(db, id), await listSteps(db, [id]))
}

export function registerOperations(api: Api): void {
  registerReading(api)
  registerCancel(api)
  registerRetry(api)
}

function registerReading({ app, platform }: Api): void {
  const { database } = platform

  app.get(
    '/v1/operations',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List operations, the newest first',
        querystring: ListQuery,
        response: { 200: pageOf(Operation) },
      },
    },
    async ({ query }) => {
      const cluster =
        query.cluster === undefined ? undefined : await findCluster(database, query.cluster)
      const rows = await listOperations(database, {
        before: parseCursor(query.cursor),
        limit: query.limit + 1,
        // An unknown cluster has no operations, rather than everybody's.
        clusterId: query.cluster === undefined ? undefined : (cluster?.id ?? ''),
        state: query.state,
      })
      const steps = await listSteps(
        database,
        rows.map((row) => row.id),
      )
      return toPage(rows, query.limit, (row) => toOperation(row, steps))
    },
  )

  app.get(
    '/v1/operations/:operation',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Show an operation with its steps',
        params: Params,
        response: { 200: Operation },
      },
    },
    (request) => show(database, request.params.operation),
  )
}

async function cancel(tx: Queryable, row: OperationRow, hasUndo: boolean): Promise<void> {
  if (row.state === 'scheduled') {
    const message = `${row.title}: cancelled before it started`
    await setOperationState(tx, row, { state: 'cancelled', message })
  } else if (row.state === 'pending' || row.state === 'running') {
    if (!hasUndo) {
      throw new HowdahError('not-cancellable', `${row.title} cannot be undone half-way`)
    }
    await requestCancel(tx, row.id)
  } else if (row.state === 'failed' && hasUndo) {
    const said = row.lane === 'backup' ? 'nothing of it runs' : 'delete the cluster'
    throw new HowdahError('not-cancellable', `${row.title} has failed; ${said}`)
  } else {
    throw new HowdahError('not-cancellable', `${row.title} has ${row.state}`)
  }
}

function registerCancel({ app, platform, operations }: Api): void {
  app.post(
    '/v1/operations/:operation/cancel',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Cancel: the running step ends, then what was done is undone',
        params: Params,
        response: { 202: Operation },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const row = await requireOperation(tx, request.params.operation)
        await cancel(tx, row, operations.get(row.kind)?.undo !== undefined)
        return { status: 202, body: await show(tx, row.id) }
      }),
  )
}

function registerRetry({ app, platform, operations }: Api): void {
  app.post(
    '/v1/operations/:operation/retry',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Try a failed operation again from its failed step',
        params: Params,
        response: { 202: Operation },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const row = await requireOperation(tx, request.params.operation)
        if (row.state !== 'failed') {
          throw new HowdahError('not-retryable', `${row.title} has not failed: ${row.state}`)
        }
        if (row.cluster_id !== null) {
          await refuseSecond(tx, row.cluster_id, row.lane)
          const succeeded = (await listSteps(tx, [row.id])).filter((s) => s.state === 'succeeded')
          const retry = { operationId: row.id, clusterId: row.cluster_id }
          const done = new Set(succeeded.map(({ name }) => name))
          await operations.get(row.kind)?.beforeRetry?.(tx, { ...retry, done })
        }
        await resetForRetry(tx, row)
        return { status: 202, body: await show(tx, row.id) }
      }),
  )
}
