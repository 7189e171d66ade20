// Owns where a host's heartbeats begin to count, so that the ones of an agent that begins anew are
// always newer than all before, also when the clock was put back meanwhile: others take what is
// older for a datagram that is late, and this host for silent.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { readFileIfPresent, writeFileAtomic } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'

/**
 * More than an agent sends in its life: five in a second, for half a year. Of the clock it is
 * 100 s: an agent that begins anew and cannot write here may be heard that much later.
 */
const BEATS_MAX = 100_000_000

/**
 * Larger than what any agent of this host has sent. The clock alone, in microseconds, where that is
 * not on disk: after an upgrade, or on a disk that is new.
 */
export async function reserveBeats(
  root: Pick<HostRoot, 'path'>,
  nowMs: number,
  log: Logger,
): Promise<number> {
  const path = join(root.path, HOST_LAYOUT.agent, 'beats')
  let first = nowMs * 1000
  try {
    const reserved = Number(await readFileIfPresent(path))
    if (Number.isSafeInteger(reserved)) first = Math.max(first, reserved)
    await writeFileAtomic(path, String(first + BEATS_MAX), { mode: 0o600 })
  } catch (error) {
    // As heard as it ever was, for as long as the clock goes on.
    log.error({ error: describeError(error) }, 'cannot keep how far the heartbeats count')
  }
  return first
}
