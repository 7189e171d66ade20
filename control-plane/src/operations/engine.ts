// Owns how operations run: as DBOS workflows, whose recorded steps make them resume after a crash,
// with the same story told in the operation tables for people. It knows no operation by name;
// main.ts hands them over.
import { DBOS } from '@dbos-inc/dbos-sdk'
import { describeError, ERRORS, type ErrorCode } from '@howdah/core/errors.ts'
import { refuseInMaintenance } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { findCluster } from '../db/clusters.ts'
import {
  findOperation,
  listSteps,
  type OperationRow,
  setOperationState,
  setStepMessage,
  setStepState,
  skipPendingSteps,
} from '../db/operations.ts'
import { abandonTasks } from '../db/tasks.ts'
import {
  isCancelled,
  OperationCancelled,
  type OperationContext,
  type OperationDefinition,
  type Platform,
  type StepContext,
  type StepPlan,
  stepTimeout,
} from './operation.ts'

const WORKFLOW_NAME = 'operation'

export type Operations = ReadonlyMap<string, OperationDefinition<never>>

/** Must be called once, before DBOS is launched: a workflow is found again by its name. */
export function registerWorkflow(platform: Platform, operations: Operations) {
  return DBOS.registerWorkflow(
    async (operationId: string) => runOperation(platform, operations, operationId),
    { name: WORKFLOW_NAME },
  )
}

interface Run {
  platform: Platform
  row: OperationRow
  definition: OperationDefinition<never>
  /** While it undoes, a request to cancel is no longer looked at. */
  undoing: boolean
}

async function runOperation(
  platform: Platform,
  operations: Operations,
  operationId: string,
): Promise<void> {
  const row = await findOperation(platform.database, operationId)
  if (row === undefined) throw new Error(`BUG: there is no operation ${operationId}`)
  const definition = operations.get(row.kind)
  if (definition === undefined) throw new Error(`BUG: nobody registered operation ${row.kind}`)
  const run: Run = { platform, row, definition, undoing: false }
  await DBOS.runStep(() => begin(run), { name: 'begin' })
  try {
    await definition.run(contextOf(run))
    await end(run, 'succeeded', `${row.title}: done`)
  } catch (error) {
    await endBadly(run, error)
  }
}

async function begin({ platform, row }: Run): Promise<void> {
  await platform.database.transaction((tx) =>
    setOperationState(tx, row, { state: 'running', message: row.title }),
  )
  platform.faults.at(`${row.kind}/begin:after`)
}

async function endBadly(run: Run, error: unknown): Promise<void> {
  const { row, definition } = run
  if (!isCancelled(error) || definition.undo === undefined) return fail(run, error)
  run.undoing = true
  try {
    await definition.undo.run(contextOf(run))
    await end(run, 'cancelled', `${row.title}: cancelled, and what it had done is undone`)
  } catch (failure) {
    await fail(run, failure)
  }
}

async function end(
  { platform, row }: Run,
  state: 'succeeded' | 'cancelled',
  message: string,
): Promise<void> {
  await DBOS.runStep(
    async () => {
      await platform.database.transaction(async (tx) => {
        await skipPendingSteps(tx, row.id)
        await setOperationState(tx, row, { state, message })
      })
      platform.faults.at(`${row.kind}/end:after`)
    },
    { name: 'end' },
  )
}

/** The code of an error that may have been through DBOS' record, where it loses its class. */
function codeOf(error: unknown): ErrorCode {
  const code = (error as { code?: unknown }).code
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'internal'
}

async function fail({ platform, row, definition }: Run, error: unknown): Promise<void> {
  const code = codeOf(error)
  const detail = describeError(error)
  await DBOS.runStep(
    async () => {
      platform.log.error({ operation: row.id, kind: row.kind, code, detail }, 'operation failed')
      const steps = await listSteps(platform.database, [row.id])
      const failed = steps.find((step) => step.state === 'failed')
      if (row.cluster_id !== null) {
        await definition.failed?.(platform, row.cluster_id, detail, row.id)
      }
      await platform.database.transaction(async (tx) => {
        // An agent that was silent must not begin them when it is back: what they were for is over.
        await abandonTasks(tx, row.id)
        await setOperationState(tx, row, {
          state: 'failed',
          message: `${row.title}: failed: ${detail}`,
          error: { code, detail, hint: ERRORS[code].hint, step: failed?.name ?? '' },
        })
      })
    },
    { name: 'fail' },
  )
}

function planOf(run: Run, name: string): StepPlan {
  const plans = [...run.definition.steps, ...(run.definition.undo?.steps ?? [])]
  const plan = plans.find((candidate) => candidate.name === name)
  if (plan === undefined) throw new Error(`BUG: ${run.row.kind} does not list its step ${name}`)
  return plan
}

function contextOf(run: Run): OperationContext<never> {
  const { platform, row } = run
  return {
    operationId: row.id,
    clusterId: row.cluster_id ?? '',
    input: row.input as never,
    async step(name, body) {
      const plan = planOf(run, name)
      const value = await DBOS.runStep(() => runStep(run, plan, body), { name })
      platform.faults.at(`${row.kind}/${name}:recorded`)
      return value
    },
  }
}

async function runStep<T>(
  run: Run,
  plan: StepPlan,
  body: (step: StepContext) => Promise<T>,
): Promise<T> {
  const { platform, row } = run
  const { database, faults } = platform
  const workflowStep = DBOS.stepID
  await throwIfCancelled(run)
  await database.transaction(async (tx) => {
    // Of an earlier run of this step that died: an agent that is away now must not run them later,
    // when what they did is perhaps undone.
    await abandonTasks(tx, row.id)
    await setStepState(tx, row, plan, { state: 'running', workflowStep })
  })
  faults.at(`${row.kind}/${plan.name}:before`)
  let lastSaid = ''
  try {
    if (plan.unlessPaused === true) await refuseIfPaused(database, row.cluster_id)
    const value = await body(
      stepContext(run, plan, (said) => {
        lastSaid = said
      }),
    )
    faults.at(`${row.kind}/${plan.name}:after`)
    await database.transaction((tx) =>
      setStepState(tx, row, plan, { state: 'succeeded', message: lastSaid }),
    )
    return value
  } catch (error) {
    const message = describeError(error)
    await database.transaction((tx) => setStepState(tx, row, plan, { state: 'failed', message }))
    throw error
  }
}

async function refuseIfPaused(db: Queryable, clusterId: string | null): Promise<void> {
  const cluster = clusterId === null ? undefined : await findCluster(db, clusterId)
  if (cluster !== undefined) refuseInMaintenance(cluster)
}

async function throwIfCancelled(run: Run): Promise<void> {
  if (run.undoing || run.definition.undo === undefined) return
  const now = await findOperation(run.platform.database, run.row.id)
  if (now?.cancel_requested === true) throw new OperationCancelled()
}

function stepContext(run: Run, plan: StepPlan, onSaid: (message: string) => void): StepContext {
  const { platform, row } = run
  let lastSaid = ''
  return {
    ...platform,
    operationId: row.id,
    clusterId: row.cluster_id ?? '',
    throwIfCancelled: () => throwIfCancelled(run),
    async say(message, data) {
      if (message === lastSaid) return
      lastSaid = message
      onSaid(message)
      await platform.database.transaction((tx) => setStepMessage(tx, row, plan, message, data))
    },
    async until(topics, timeoutMs, look) {
      const found = await platform.changes.waitUntil(
        [...topics, `operation:${row.id}`],
        Date.now() + timeoutMs,
        async () => {
          await throwIfCancelled(run)
          return look()
        },
      )
      if (found === undefined) throw stepTimeout(plan.title, timeoutMs, lastSaid)
      return found
    },
  }
}
