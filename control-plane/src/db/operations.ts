// Owns the operation, operation_step and worker tables. DBOS keeps what a workflow needs to resume;
// these keep what people and the API look at, written in the same order as the work is done.
import type { Operation, OperationStep } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import { notifyChange } from '../changes.ts'
import type { Queryable } from '../database.ts'
import { addEvent } from './events.ts'

export interface NewOperation {
  kind: string
  title: string
  clusterId: string | null
  clusterName: string | null
  input: unknown
  steps: readonly { name: string; title: string }[]
  createdBy: string
  /** Not before this moment; until then the operation is in nobody's way. */
  startAt?: string | null
  /** `cluster` unless given: one operation per cluster and lane runs at a time. */
  lane?: Lane
}

/** backup: reads a cluster and leaves it as it is, so that changes need not wait for it. */
export type Lane = 'cluster' | 'backup'

export interface OperationRow {
  id: string
  kind: string
  title: string
  state: Operation['state']
  cluster_id: string | null
  cluster_name: string | null
  input: unknown
  attempt: number
  cancel_requested: boolean
  error: Operation['error']
  created_by: string
  created_at: Date
  started_at: Date | null
  ended_at: Date | null
  lane: Lane
}

export interface StepRow {
  operation_id: string
  position: number
  name: string
  title: string
  state: OperationStep['state']
  message: string
  workflow_step: number | null
  started_at: Date | null
  ended_at: Date | null
}

const COLUMNS = `id, kind, title, state, cluster_id, cluster_name, input, attempt, cancel_requested,
  error, created_by, created_at, started_at, ended_at, lane`
const STEP_COLUMNS =
  'operation_id, position, name, title, state, message, workflow_step, started_at, ended_at'

/** Throws `operation-running` with the id of the one in the way. */
export async function insertOperation(
  tx: Queryable,
  operation: NewOperation,
): Promise<OperationRow> {
  const scheduled = operation.startAt != null
  const lane = operation.lane ?? 'cluster'
  if (operation.clusterId !== null && !scheduled) await refuseSecond(tx, operation.clusterId, lane)
  const id = newId('operation')
  const { rows } = await tx.query<OperationRow>(
    `insert into operation
       (id, kind, title, state, cluster_id, cluster_name, input, created_by, start_at, lane)
     values ($1, $2, $3, $8, $4, $5, $6, $7, $9, $10) returning ${COLUMNS}`,
    [
      id,
      operation.kind,
      operation.title,
      operation.clusterId,
      operation.clusterName,
      JSON.stringify(operation.input),
      operation.createdBy,
      scheduled ? 'scheduled' : 'pending',
      operation.startAt ?? null,
      lane,
    ],
  )
  const row = rows[0] as OperationRow
  await insertSteps(tx, id, operation.steps)
  await addEvent(tx, {
    kind: scheduled ? 'operation.scheduled' : 'operation.pending',
    message: operation.title,
    clusterId: operation.clusterId,
    operationId: id,
  })
  await notifyChange(tx, 'work')
  return row
}

async function insertSteps(
  tx: Queryable,
  id: string,
  steps: readonly { name: string; title: string }[],
): Promise<void> {
  for (const [position, step] of steps.entries()) {
    await tx.query(
      `insert into operation_step (operation_id, position, name, title, state)
       values ($1, $2, $3, $4, 'pending') on conflict do nothing`,
      [id, position, step.name, step.title],
    )
  }
}

/**
 * Throws `operation-running` with the id of the one in the way. The cluster's row stays locked
 * until the transaction ends: a request that comes at the same moment waits here, and then can name
 * the winner.
 */
export async function refuseSecond(
  tx: Queryable,
  clusterId: string,
  lane: Lane = 'cluster',
): Promise<void> {
  await tx.query('select from cluster where id = $1 for update', [clusterId])
  const { rows } = await tx.query<{ id: string; title: string }>(
    `select id, title from operation
     where cluster_id = $1 and lane = $2 and state in ('pending', 'running')`,
    [clusterId, lane],
  )
  const running = rows[0]
  if (running === undefined) return
  throw new HowdahError('operation-running', `${running.title} (${running.id}) is running`, {
    extra: { operation_id: running.id },
  })
}

export async function findOperation(db: Queryable, id: string): Promise<OperationRow | undefined> {
  const { rows } = await db.query<OperationRow>(`select ${COLUMNS} from operation where id = $1`, [
    id,
  ])
  return rows[0]
}

export async function listOperations(
  db: Queryable,
  filter: {
    before: string
    limit: number
    clusterId?: string | undefined
    state?: string | undefined
  },
): Promise<OperationRow[]> {
  const { rows } = await db.query<OperationRow>(
    `select ${COLUMNS} from operation where ($1 = '' or id < $1)
       and ($3::text is null or cluster_id = $3) and ($4::text is null or state = $4)
     order by id desc limit $2`,
    [filter.before, filter.limit, filter.clusterId ?? null, filter.state ?? null],
  )
  return rows
}

/** Of those of a kind that came to an end by themselves. */
export async function lastEnded(
  db: Queryable,
  clusterId: string,
  kind: string,
): Promise<OperationRow | undefined> {
  const { rows } = await db.query<OperationRow>(
    `select ${COLUMNS} from operation
     where cluster_id = $1 and kind = $2 and state in ('succeeded', 'failed')
     order by ended_at desc limit 1`,
    [clusterId, kind],
  )
  return rows[0]
}

export async function listSteps(db: Queryable, ids: readonly string[]): Promise<StepRow[]> {
  const { rows } = await db.query<StepRow>(
    `select ${STEP_COLUMNS} from operation_step where operation_id = any($1)
     order by operation_id, position`,
    [ids],
  )
  return rows
}

export async function runningOperation(
  db: Queryable,
  clusterId: string,
  lane: Lane = 'cluster',
): Promise<string | undefined> {
  const { rows } = await db.query<{ id: string }>(
    `select id from operation
     where cluster_id = $1 and lane = $2 and state in ('pending', 'running')`,
    [clusterId, lane],
  )
  return rows[0]?.id
}

export function toOperation(row: OperationRow, steps: readonly StepRow[]): Operation {
  return {
    id: row.id,
    kind: row.kind,
    title: row.title,
    state: row.state,
    cancel_requested: row.cancel_requested,
    cluster_id: row.cluster_id,
    cluster_name: row.cluster_name,
    attempt: row.attempt,
    steps: steps
      .filter((step) => step.operation_id === row.id)
      .map((step) => ({
        name: step.name,
        title: step.title,
        state: step.state,
        message: step.message,
        started_at: step.started_at?.toISOString() ?? null,
        ended_at: step.ended_at?.toISOString() ?? null,
      })),
    error: row.error,
    created_by: row.created_by,
    created_at: row.created_at.toISOString(),
    started_at: row.started_at?.toISOString() ?? null,
    ended_at: row.ended_at?.toISOString() ?? null,
  }
}

/** Makes what is due pending; one whose cluster is busy waits for the next look. */
export async function startDueOperations(db: Queryable): Promise<void> {
  await db.query(
    `update operation o set state = 'pending'
     where state = 'scheduled' and start_at <= now() and not exists (
       select 1 from operation other
       where other.cluster_id = o.cluster_id and other.lane = o.lane
         and other.state in ('pending', 'running'))
     and id = (select min(id) from operation first
       where first.cluster_id = o.cluster_id and first.state = 'scheduled'
         and first.start_at <= now())`,
  )
}

/** Pending operations, oldest first: what a worker starts. */
export async function listPendingIds(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    "select id from operation where state = 'pending' order by id limit 100",
  )
  return rows.map((row) => row.id)
}

export interface StateChange {
  state: Operation['state']
  message: string
  error?: Operation['error']
}

/**
 * Sets the state and tells it as an event, together; setting the state that it has changes nothing.
 */
export async function setOperationState(
  tx: Queryable,
  row: { id: string; cluster_id: string | null },
  change: StateChange,
): Promise<void> {
  const ended = ['succeeded', 'failed', 'cancelled'].includes(change.state)
  const { rowCount } = await tx.query(
    `update operation set state = $2, error = $3,
       started_at = case when $2 = 'running' then coalesce(started_at, now()) else started_at end,
       ended_at = case when $4 then now() else null end
     where id = $1 and state <> $2`,
    [row.id, change.state, change.error === undefined ? null : JSON.stringify(change.error), ended],
  )
  if (rowCount !== 1) return
  await notifyChange(tx, `operation:${row.id}`)
  await addEvent(tx, {
    kind: `operation.${change.state}`,
    message: change.message,
    clusterId: row.cluster_id,
    operationId: row.id,
    data: change.error == null ? {} : { error: change.error },
  })
}

export async function requestCancel(tx: Queryable, id: string): Promise<void> {
  await tx.query('update operation set cancel_requested = true where id = $1', [id])
  await notifyChange(tx, `operation:${id}`)
}

/** Back to pending, one attempt on; the steps that had failed or never ran are pending again. */
export async function resetForRetry(tx: Queryable, row: OperationRow): Promise<void> {
  await tx.query(
    `update operation set state = 'pending', attempt = attempt + 1, error = null,
       cancel_requested = false, ended_at = null where id = $1`,
    [row.id],
  )
  await tx.query(
    `update operation_step set state = 'pending', message = '', started_at = null, ended_at = null
     where operation_id = $1 and state <> 'succeeded'`,
    [row.id],
  )
  await addEvent(tx, {
    kind: 'operation.pending',
    message: `${row.title}: attempt ${row.attempt + 1}`,
    clusterId: row.cluster_id,
    operationId: row.id,
  })
  await notifyChange(tx, 'work')
}

export interface StepChange {
  state: OperationStep['state']
  message?: string
  workflowStep?: number | undefined
}

/** Adds the step if the plan did not list it (a cancelled operation undoes what it did). */
export async function setStepState(
  tx: Queryable,
  operation: { id: string; cluster_id: string | null },
  step: { name: string; title: string },
  change: StepChange,
): Promise<void> {
  const ended = change.state === 'succeeded' || change.state === 'failed'
  await tx.query(
    `insert into operation_step
       (operation_id, position, name, title, state, message, workflow_step, started_at)
     values ($1,
       (select coalesce(max(position) + 1, 0) from operation_step where operation_id = $1),
       $2, $3, $4, $5, $6, now())
     on conflict (operation_id, name) do update set state = $4, message = $5,
       workflow_step = coalesce($6, operation_step.workflow_step),
       started_at = case when $4 = 'running' then now() else operation_step.started_at end,
       ended_at = case when $7 then now() end`,
    [
      operation.id,
      step.name,
      step.title,
      change.state,
      change.message ?? '',
      change.workflowStep ?? null,
      ended,
    ],
  )
  await addEvent(tx, {
    kind: `step.${change.state}`,
    message: change.message || step.title,
    clusterId: operation.cluster_id,
    operationId: operation.id,
    data: { step: step.name, title: step.title },
  })
}

/**
 * Of an operation that has ended: what it had no need of, or what a cancelled one did not get to.
 */
export async function skipPendingSteps(tx: Queryable, operationId: string): Promise<void> {
  await tx.query(
    "update operation_step set state = 'skipped' where operation_id = $1 and state = 'pending'",
    [operationId],
  )
}

export async function setStepMessage(
  tx: Queryable,
  operation: { id: string; cluster_id: string | null },
  step: { name: string; title: string },
  message: string,
  data: Record<string, unknown> = {},
): Promise<void> {
  await tx.query('update operation_step set message = $3 where operation_id = $1 and name = $2', [
    operation.id,
    step.name,
    message,
  ])
  await addEvent(tx, {
    kind: 'step.progress',
    message,
    clusterId: operation.cluster_id,
    operationId: operation.id,
    data: { ...data, step: step.name },
  })
}

export async function beatWorker(db: Queryable, id: string): Promise<void> {
  await db.query(
    `insert into worker (id) values ($1) on conflict (id) do update set seen_at = now()`,
    [id],
  )
}

/** Workers silent for longer; each is given to one caller only. */
export async function takeDeadWorkers(
  db: Queryable,
  ownId: string,
  silentSeconds: number,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `delete from worker where id <> $1 and seen_at < now() - make_interval(secs => $2)
     returning id`,
    [ownId, silentSeconds],
  )
  return rows.map((row) => row.id)
}
