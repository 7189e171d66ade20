// Owns how an operation, or a request that reads live data, has an agent do something and waits for
// it.
import { HowdahError } from '@howdah/core/errors.ts'
import type { TaskAction, TaskResult } from '@howdah/core/protocol.ts'
import { abandonTask, insertTask, readResult, withdrawTask } from '../db/tasks.ts'
import type { Platform } from './operation.ts'

/** An agent's own bound on the task, so that its answer, a timeout, still reaches us in ours. */
const ANSWER_MARGIN_MS = 2000

export interface TaskRequest {
  hostId: string
  operationId?: string
  timeoutMs: number
  action: TaskAction
}

/**
 * The agent's answer, good or bad. Throws `task-lost` when there is none in time; then it will not
 * run later. `watch` is called now and then meanwhile: what it returns counts as the answer, and
 * then, as when it throws, the task is ended wherever it runs.
 */
export async function askAgent(
  platform: Pick<Platform, 'database' | 'sealer' | 'changes'>,
  request: TaskRequest,
  watch: () => Promise<TaskResult | undefined> = async () => undefined,
): Promise<TaskResult> {
  const { database, sealer, changes } = platform
  const id = await database.transaction((tx) =>
    insertTask(tx, sealer, { ...request, operationId: request.operationId ?? null }),
  )
  const deadlineMs = Date.now() + request.timeoutMs + ANSWER_MARGIN_MS
  const look = async () => {
    const answer = await readResult(database, id)
    if (answer !== undefined) return answer
    const instead = await watch()
    if (instead !== undefined) await withdrawTask(database, id)
    return instead
  }
  const result = await changes.waitUntil([`task:${id}`], deadlineMs, look).catch(async (error) => {
    await withdrawTask(database, id)
    throw error
  })
  if (result !== undefined) return result
  await abandonTask(database, id)
  const said = `${request.action.kind}: no answer within ${request.timeoutMs / 1000} s`
  throw new HowdahError('task-lost', said)
}

/** The value of a good answer; a bad one is thrown as `agent-refused`, or as `onError` says. */
export async function runTask<T>(
  platform: Pick<Platform, 'database' | 'sealer' | 'changes'>,
  request: TaskRequest,
): Promise<T> {
  const result = await askAgent(platform, request)
  if (!result.ok) throw new HowdahError('agent-refused', result.error)
  return result.value as T
}
