// Owns the worker: launches DBOS, starts what is pending, and takes over what a dead worker left.
import { DBOS } from '@dbos-inc/dbos-sdk'
import { describeError } from '@howdah/core/errors.ts'
import type { Queryable } from '../database.ts'
import {
  beatWorker,
  findOperation,
  listPendingIds,
  listSteps,
  startDueOperations,
  takeDeadWorkers,
} from '../db/operations.ts'
import { type Operations, registerWorkflow } from './engine.ts'
import type { Platform } from './operation.ts'

// Part of DBOS' record: a workflow is only recovered by a worker of the same version. Fixed on
// purpose, as operations are written to be resumed by newer code (steps are found by position and
// name).
const WORKFLOW_VERSION = '1'
const BEAT_MS = 3000
const DEAD_AFTER_SECONDS = 15
const DISPATCH_MS = 1000

export interface Worker {
  stop(): Promise<void>
}

export async function startWorker(platform: Platform, operations: Operations): Promise<Worker> {
  const { database, log, config, changes } = platform
  const workflow = registerWorkflow(platform, operations)
  DBOS.setConfig({
    name: 'howdah',
    systemDatabasePool: database.pool,
    // Only parsed: every connection comes from the pool.
    systemDatabaseUrl: 'postgresql://howdah@localhost/howdah',
    systemDatabaseSchemaName: 'dbos',
    applicationVersion: WORKFLOW_VERSION,
    executorID: config.workerId,
    logger: {
      info: (message) => log.debug({ dbos: String(message) }, 'dbos'),
      debug: () => {},
      warn: (message) => log.warn({ dbos: String(message) }, 'dbos'),
      error: (message) => log.error({ dbos: String(message) }, 'dbos'),
    },
  })
  await DBOS.launch()
  await beatWorker(database, config.workerId)

  const dispatch = singleFlight(log, 'dispatch failed', async () => {
    await startDueOperations(database)
    for (const id of await listPendingIds(database)) {
      await startOrRewind(database, id, () =>
        DBOS.startWorkflow(workflow, { workflowID: id })(id).then(() => undefined),
      )
    }
  })
  const beat = singleFlight(log, 'heartbeat failed', async () => {
    await beatWorker(database, config.workerId)
    const dead = await takeDeadWorkers(database, config.workerId, DEAD_AFTER_SECONDS)
    for (const executorId of dead) await takeOver(platform, executorId)
  })
  const unsubscribe = changes.subscribe('work', dispatch)
  const timers = [setInterval(dispatch, DISPATCH_MS), setInterval(beat, BEAT_MS)]
  dispatch()
  return {
    async stop() {
      unsubscribe()
      for (const timer of timers) clearInterval(timer)
      await DBOS.shutdown({ workflowCompletionTimeoutMS: 0 })
    },
  }
}

/** Never two at a time; a call during a run makes one more run after it. */
function singleFlight(log: Platform['log'], failure: string, body: () => Promise<void>) {
  let running = false
  let again = false
  return async function call(): Promise<void> {
    if (running) {
      again = true
      return
    }
    running = true
    do {
      again = false
      await body().catch((error) => log.warn({ error: describeError(error) }, failure))
    } while (again)
    running = false
  }
}

const TERMINAL = new Set(['SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'])

/**
 * A pending operation whose workflow has ended is a retry: its history from the failed step on is
 * dropped.
 */
async function startOrRewind(
  database: Queryable,
  id: string,
  start: () => Promise<void>,
): Promise<void> {
  const status = await DBOS.getWorkflowStatus(id)
  if (status === null) return start()
  if (!TERMINAL.has(status.status)) return
  const row = await findOperation(database, id)
  if (row?.state !== 'pending') return
  const steps = await listSteps(database, [id])
  const first = steps.find((step) => step.state !== 'succeeded' && step.workflow_step !== null)
  await DBOS.rewindWorkflow(id, { startStep: first?.workflow_step ?? 0 })
}

async function takeOver({ log }: Platform, executorId: string): Promise<void> {
  const left = await DBOS.listWorkflows({ executorId, status: 'PENDING' })
  if (left.length === 0) return
  log.warn({ executorId, operations: left.length }, 'takes over the operations of a dead worker')
  await DBOS.resumeWorkflows(left.map((workflow) => workflow.workflowID))
}
