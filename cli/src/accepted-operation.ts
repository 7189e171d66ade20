// Owns what every command does once the platform has accepted a change: follow it, unless told not
// to.
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Context } from './context.ts'
import { followToSuccess } from './follow.ts'

export const NO_WAIT = ['--no-wait', 'return at once; howdah op watch follows it later'] as const

export interface WaitFlags {
  wait?: boolean
}

/**
 * Returns whether the operation has succeeded (false: it goes on, because of --no-wait). Throws
 * `operation-failed` when it did not. An answer without an operation had nothing to do.
 */
export async function finishAccepted(
  context: Context,
  accepted: { operation?: Operation | null },
  flags: WaitFlags,
): Promise<boolean> {
  const { operation } = accepted
  if (operation === undefined || operation === null) return true
  if (flags.wait === false) {
    context.output().note(`follow it with: howdah op watch ${operation.id}`)
    return false
  }
  await followToSuccess(context, operation.id)
  return true
}
