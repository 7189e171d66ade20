// Owns the running of tasks: each id once, a bounded number at a time, each ended at its deadline.
// Tasks in flight are kept in memory only: they hold secrets, and a control plane sends those again
// that died with the agent.
import { describeError } from '@howdah/core/errors.ts'
import type { Task, TaskResult } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import type { ResultStore } from './result-store.ts'
import { type ActionContext, runTaskAction } from './run-task-action.ts'
import { TaskError } from './task-error.ts'

/** What may take longer than this has places of its own: nothing short ever waits for it. */
const SHORT_MS_MAX = 300_000
const RUNNING_COUNT_MAX = { short: 8, repository: 8, long: 4 } as const
/** Of the places for short tasks that go to repositories. */
const PER_STORE_COUNT_MAX = 3
const QUEUE_LENGTH_MAX = 200
const KNOWN_COUNT_MAX = 1000
const VALUE_BYTES_MAX = 1024 * 1024
const ERROR_LENGTH_MAX = 4000

export interface TaskRunner {
  /** Takes those that are new; others are ignored or their result is sent again. */
  offer(tasks: readonly Task[]): void
  /**
   * Ends those that run and forgets those that wait. Each gets a result, also one that was never
   * seen here: whoever took it back learns that it is over.
   */
  withdraw(ids: readonly string[]): Promise<void>
  /** For the control plane: what it need not send again. */
  knownIds(): string[]
  /** Resolves once nothing runs any more; call it after `signal` aborted. */
  drain(): Promise<void>
}

export interface TaskRunnerNeeds {
  results: ResultStore
  context: ActionContext
  log: Logger
  signal: AbortSignal
  /** A result waits to be reported. */
  onResult: () => void
}

type Lane = keyof typeof RUNNING_COUNT_MAX

function laneOf({ timeoutMs, action }: Task): Lane {
  if (timeoutMs > SHORT_MS_MAX) return 'long'
  return 'repository' in action ? 'repository' : 'short'
}

/** Where a repository task goes: an endpoint, or the directory that holds all clusters'. */
function storeOf({ action }: Task): string | undefined {
  if (!('repository' in action)) return undefined
  const { endpoint, config } = action.repository
  return endpoint?.host ?? /^repo1-path=(.*)\/[^/\n]*$/m.exec(config)?.[1]
}

/**
 * The first that need not wait, which may have come after others that do. A store that does not
 * answer keeps short tasks waiting that go there, and no others.
 */
export function nextStartable(queue: readonly Task[], running: Iterable<Task>): Task | undefined {
  const tasks = [...running]
  return queue.find((task) => {
    const lane = laneOf(task)
    const beside = tasks.filter((each) => laneOf(each) === lane)
    if (beside.length >= RUNNING_COUNT_MAX[lane]) return false
    if (lane !== 'repository') return true
    const store = storeOf(task)
    return beside.filter((each) => storeOf(each) === store).length < PER_STORE_COUNT_MAX
  })
}

interface RunningTask {
  task: Task
  stop: AbortController
  ended: Promise<void>
}

export function makeTaskRunner(needs: TaskRunnerNeeds): TaskRunner {
  let queue: Task[] = []
  const running = new Map<string, RunningTask>()
  const { results } = needs

  function startNext(): void {
    while (!needs.signal.aborted) {
      const tasks = [...running.values()].map(({ task }) => task)
      const task = nextStartable(queue, tasks)
      if (task === undefined) return
      queue = queue.filter((queued) => queued !== task)
      const stop = new AbortController()
      const ended = runTask(needs, task, stop.signal).finally(() => {
        running.delete(task.id)
        startNext()
      })
      running.set(task.id, { task, stop, ended })
    }
  }

  return {
    offer(tasks) {
      for (const task of tasks) {
        if (results.has(task.id)) {
          results.markWanted(task.id)
          needs.onResult()
          continue
        }
        const known = running.has(task.id) || queue.some((queued) => queued.id === task.id)
        if (known || results.full() || queue.length >= QUEUE_LENGTH_MAX) continue
        queue.push(task)
      }
      startNext()
    },
    async withdraw(ids) {
      queue = queue.filter(({ id }) => !ids.includes(id))
      for (const id of ids) {
        running.get(id)?.stop.abort()
        if (running.has(id)) continue
        if (results.has(id)) results.markWanted(id)
        else await results.add(withdrawn(id))
      }
      if (ids.length > 0) needs.onResult()
    },
    knownIds() {
      const ids = [
        ...running.keys(),
        ...queue.map((task) => task.id),
        ...results.ids().toReversed(),
      ]
      return [...new Set(ids)].slice(0, KNOWN_COUNT_MAX)
    },
    async drain() {
      await Promise.allSettled([...running.values()].map(({ ended }) => ended))
    },
  }
}

function withdrawn(id: string): TaskResult {
  return { id, ok: false, value: null, error: 'it was taken back', errorCode: 'withdrawn' }
}

async function runTask(needs: TaskRunnerNeeds, task: Task, stop: AbortSignal): Promise<void> {
  const startedMs = performance.now()
  const result = await resultOf(needs, task, stop)
  // Stopping cut it short: reported as failed, it would not be sent again to the next agent.
  if (needs.signal.aborted && !result.ok) return
  const tookMs = Math.round(performance.now() - startedMs)
  const { ok, errorCode } = result
  needs.log.info({ task: task.id, kind: task.action.kind, ok, errorCode, tookMs }, 'task ended')
  try {
    await needs.results.add(result)
  } catch (error) {
    needs.log.error({ task: task.id, error: describeError(error) }, 'task result not on disk')
  }
  needs.onResult()
}

async function resultOf(
  needs: TaskRunnerNeeds,
  task: Task,
  stop: AbortSignal,
): Promise<TaskResult> {
  const { id, timeoutMs } = task
  const deadline = new AbortController()
  const abort = () => deadline.abort()
  const timer = setTimeout(abort, timeoutMs)
  const ending = AbortSignal.any([needs.signal, stop])
  ending.addEventListener('abort', abort, { once: true })
  // An action that does not heed its signal is left behind rather than waited for.
  const expired = new Promise<never>((_, reject) => {
    const said = new TaskError('timeout', `it did not end within ${timeoutMs} ms`)
    deadline.signal.addEventListener('abort', () => setTimeout(() => reject(said), 250))
  })
  expired.catch(() => undefined)
  try {
    const limits = { timeoutMs, signal: deadline.signal }
    const value = await Promise.race([runTaskAction(task.action, needs.context, limits), expired])
    return boundValue({ id, ok: true, value: value ?? null, error: '', errorCode: '' })
  } catch (error) {
    if (stop.aborted) return withdrawn(id)
    const timedOut = deadline.signal.aborted
    const code = error instanceof TaskError ? error.code : ''
    const text = describeError(error).slice(0, ERROR_LENGTH_MAX).toWellFormed()
    const errorCode = (timedOut ? 'timeout' : code).slice(0, 64)
    return { id, ok: false, value: null, error: text, errorCode }
  } finally {
    clearTimeout(timer)
    ending.removeEventListener('abort', abort)
  }
}

function boundValue(result: TaskResult): TaskResult {
  const bytes = Buffer.byteLength(JSON.stringify(result.value))
  if (bytes <= VALUE_BYTES_MAX) return result
  const error = `the result has ${bytes} bytes, more than ${VALUE_BYTES_MAX}`
  return { ...result, ok: false, value: null, error, errorCode: 'result-too-large' }
}
