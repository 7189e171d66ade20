// Owns what an operation is: a kind, its steps in order, and a function that runs them. A new
// operation is one more file like its neighbours, registered in catalogue.ts. A step is idempotent:
// the process may die after a step's effect and before its record, and then the step runs again.
import { HowdahError } from '@howdah/core/errors.ts'
import type { Changes } from '../changes.ts'
import type { Config } from '../config.ts'
import type { Database, Queryable } from '../database.ts'
import type { Lane } from '../db/operations.ts'
import type { Faults } from '../faults.ts'
import type { Log } from '../log.ts'
import type { Sealer } from '../sealing.ts'

/** What every operation works with. */
export interface Platform {
  database: Database
  sealer: Sealer
  changes: Changes
  faults: Faults
  log: Log
  config: Config
}

export interface StepPlan {
  name: string
  /** For people, in the present tense: "starts the instances". */
  title: string
  /** Refused while the cluster is paused. */
  unlessPaused?: true
}

/**
 * A step that would move the leader, or restart it. It may come long after the request that found
 * the cluster not paused: a scheduled operation begins later, and a failed one is tried again.
 */
export function unlessPaused(plan: StepPlan): StepPlan {
  return { ...plan, unlessPaused: true }
}

export interface StepContext extends Platform {
  operationId: string
  clusterId: string
  /** What takes long without `until` asks this now and then. */
  throwIfCancelled(): Promise<void>
  /**
   * Tells people how far the step is, and programs the data; the same sentence twice is told once.
   */
  say(message: string, data?: Record<string, unknown>): Promise<void>
  /**
   * Looks until there is something, woken by the topics. Throws `step-timeout` with the last thing
   * said when the deadline passes, and ends at once when the operation is cancelled.
   */
  until<T>(
    topics: readonly string[],
    timeoutMs: number,
    look: () => Promise<T | undefined>,
  ): Promise<T>
}

export interface OperationContext<Input> {
  operationId: string
  clusterId: string
  input: Input
  /**
   * Runs the step, or returns what it returned when it ran before. The result is kept: it is small,
   * and no secret.
   */
  step<T>(name: string, body: (step: StepContext) => Promise<T>): Promise<T>
}

export interface OperationDefinition<Input = unknown> {
  kind: string
  steps: readonly StepPlan[]
  /** `cluster` unless given. */
  lane?: Lane
  run(operation: OperationContext<Input>): Promise<void>
  /**
   * Steps that undo a cancelled run. Without them the operation cannot be cancelled once it runs.
   */
  undo?: { steps: readonly StepPlan[]; run(operation: OperationContext<Input>): Promise<void> }
  /**
   * In the transaction that has a failed operation tried again: throws where what it would go on
   * with is no longer there. `done`: its steps that stay done.
   */
  beforeRetry?(
    tx: Queryable,
    retry: { operationId: string; clusterId: string; done: ReadonlySet<string> },
  ): Promise<void>
  /** After a failed step: leaves the cluster in a state that says so. Must be idempotent. */
  failed?(platform: Platform, clusterId: string, reason: string, operationId: string): Promise<void>
}

/**
 * Thrown inside a step when somebody asked to cancel. Its name survives DBOS' record of the step.
 */
export class OperationCancelled extends Error {
  constructor() {
    super('cancelled')
    this.name = 'OperationCancelled'
  }
}

export function isCancelled(error: unknown): boolean {
  return error instanceof Error && error.name === 'OperationCancelled'
}

export function stepTimeout(title: string, timeoutMs: number, lastSaid: string): HowdahError {
  const seconds = Math.round(timeoutMs / 1000)
  const said = lastSaid === '' ? 'nothing was observed' : `last seen: ${lastSaid}`
  return new HowdahError('step-timeout', `${title}: not within ${seconds} s; ${said}`)
}
