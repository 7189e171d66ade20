// Owns the fence: after it, nothing of an instance on this host can acknowledge a commit, and its
// Patroni does not answer, so that the others need not wait for it. s6 starts Patroni again, which
// rejoins as a replica.
import { describeError } from '@howdah/core/errors.ts'
import type { Logger } from 'pino'
import { readProcessState } from '../apply/s6.ts'
import { findProcesses } from './postmaster.ts'

const ROUNDS_MAX = 50

export interface FenceTarget {
  name: string
  /** s6 service directory of its Patroni. */
  serviceDirectory: string
  dataDirectory: string
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone already, which is what was wanted.
  }
}

/** Its PostgreSQL goes on; s6 starts another Patroni, which finds it. */
export async function killPatroni(
  target: Pick<FenceTarget, 'name' | 'serviceDirectory'>,
  reason: string,
  log: Logger,
): Promise<void> {
  log.warn({ instance: target.name, reason }, 'kills its Patroni')
  try {
    const { pid } = await readProcessState(target.serviceDirectory)
    if (pid !== null) kill(pid)
  } catch (error) {
    log.error({ instance: target.name, error: describeError(error) }, 'cannot find its Patroni')
  }
}

/**
 * Patroni first: it would start PostgreSQL again. Then every process of the instance, until there
 * is none.
 */
export async function fence(target: FenceTarget, reason: string, log: Logger): Promise<void> {
  log.warn({ instance: target.name, reason }, 'fences the instance')
  await killPatroni(target, reason, log)
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const left = findProcesses(target.dataDirectory)
    if (left.length === 0) return
    for (const pid of left) kill(pid)
    await new Promise((resolve) => setImmediate(resolve))
  }
  log.error({ instance: target.name }, 'processes of the instance outlive SIGKILL')
}
