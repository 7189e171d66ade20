// Owns making a test platform's control plane die at named points of an operation, one after the
// other, and seeing it come back by itself each time.
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { ApiReply } from './api.ts'
import { findHomeProcesses } from './home-processes.ts'
import type { TestPlatform } from './platform.ts'
import { until } from './until.ts'

/** What an operation may take longer than undisturbed, counted from each death. */
export const CONVERGE_MS = 30_000

const RESTART_TIMEOUT_MS = 30_000

export interface Request {
  method: string
  path: string
  body?: unknown
  headers?: Record<string, string>
}

/** The reply to a cancellation is the operation itself. */
type Accepted = { operation: Operation } | Operation

/**
 * Starts an operation and lets the control plane die at each point in turn. Returns the first reply
 * and the operation once it has ended. Fails when a point is not reached in time, as then it did
 * not converge.
 */
export async function dieAlong<Reply extends Accepted>(
  platform: TestPlatform,
  points: readonly string[],
  request: Request,
  normalMs: number,
): Promise<{ reply: Reply; operation: Operation }> {
  const [first, ...others] = points
  if (first === undefined) throw new Error('no point to die at')
  await arm(platform, first)
  let pid = controlPlanePid(platform)
  const submitted = submit<Reply>(platform, request)
  // Awaited below: until then a failure to submit must not count as unhandled.
  submitted.catch(() => {})
  for (const [index, point] of points.entries()) {
    await until(`the control plane to die at ${point}`, normalMs + CONVERGE_MS, () =>
      existsSync(platform.faultFile) ? { seen: 'it lives' } : { value: true },
    ).catch(async (error: Error) => {
      await rm(platform.faultFile, { force: true })
      throw new Error(`${error.message}\n${await platform.explain()}`)
    })
    const next = others[index]
    if (next !== undefined) await arm(platform, next)
    pid = await waitRestart(platform, pid)
  }
  const { body } = await submitted
  const { id } = 'operation' in body ? body.operation : body
  const operation = await platform.waitOperation(id, normalMs + CONVERGE_MS)
  return { reply: body, operation }
}

/** The same request until it is answered: its reply may have died with the control plane. */
export async function submit<Reply>(
  platform: TestPlatform,
  request: Request,
): Promise<ApiReply<Reply>> {
  const headers = { ...request.headers, 'idempotency-key': randomUUID() }
  const { method, path, body } = request
  return until(`${method} ${path} to be answered`, RESTART_TIMEOUT_MS, async () => {
    const reply = await platform.api<Reply>(method, path, body, headers)
    if (reply.status === 202) return { value: reply }
    return { seen: `${reply.status} ${JSON.stringify(reply.body)}` }
  })
}

/**
 * The control plane will die there. Renamed into place: the control plane would not recognize half
 * a point, and then never die.
 */
export async function arm(platform: TestPlatform, point: string): Promise<void> {
  const temporary = `${platform.faultFile}.new`
  await writeFile(temporary, point)
  await rename(temporary, platform.faultFile)
}

export function controlPlanePid(platform: TestPlatform): number | undefined {
  return findHomeProcesses(platform.home).find(({ argv }) =>
    argv.some((word) => word.endsWith('control-plane/src/main.ts')),
  )?.pid
}

async function waitRestart(
  platform: TestPlatform,
  before: number | undefined,
): Promise<number | undefined> {
  return until('s6 to start the control plane again', RESTART_TIMEOUT_MS, () => {
    const pid = controlPlanePid(platform)
    return pid === undefined || pid === before ? { seen: `pid ${pid}` } : { value: pid }
  })
}
