// Owns how a planned action is carried out on one service. Each may be cut short by a crash after
// any line: the next plan, made from what is then there, finishes it.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { hasCode } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'
import { makeProber } from '../observe/probe.ts'
import { pause } from '../wake.ts'
import type { ServiceAction } from './plan-service.ts'
import { commandService, isSupervised, readProcessState, rescan } from './s6.ts'
import {
  discardWork,
  installService,
  type RenderedService,
  retireService,
  rewriteService,
  SERVICE_MARK,
  serviceDirectory,
  writeRecord,
} from './service-directory.ts'

const POLL_MS = 20
const ANSWER_TIMEOUT_MS = 5000
const QUIT_GRACE_MS = 3000
const SUPERVISE_TIMEOUT_MS = 10_000
/** s6 sends SIGKILL itself after the service's own limit; this is for s6 to say that it did. */
const KILL_GRACE_MS = 10_000
/** The longest stopTimeoutMs of the schema: what is stopped may no longer be in any spec. */
const STOP_TIMEOUT_MS_MAX = 600_000

export interface ActionNeeds {
  root: HostRoot
  signal: AbortSignal
}

export async function runAction(
  needs: ActionNeeds,
  action: ServiceAction,
  rendered: RenderedService,
): Promise<void> {
  const { root } = needs
  const directory = serviceDirectory(root, rendered.service.name)
  switch (action) {
    case 'none':
      return
    case 'install':
      await installService(root, rendered)
      return await superviseService(needs, directory)
    case 'supervise':
      return await superviseService(needs, directory)
    case 'restart':
      await rewriteService(root, rendered)
      await stopService(needs, directory)
      // Recorded before the start: a crash in between leaves it down, which the next plan sees.
      await writeRecord(root, rendered)
      return await commandService(directory, 'up')
    case 'start':
      return await commandService(directory, 'up')
    case 'reload':
      await rewriteService(root, rendered)
      await commandService(directory, rendered.service.reloadSignal)
      await writeRecord(root, rendered)
      return await answersAgain(needs, rendered)
    case 'rewrite':
      await rewriteService(root, rendered)
      return await writeRecord(root, rendered)
  }
}

async function superviseService(needs: ActionNeeds, directory: string): Promise<void> {
  await rescan(join(needs.root.path, HOST_LAYOUT.services))
  await until(needs, `s6 to supervise ${directory}`, SUPERVISE_TIMEOUT_MS, async () => {
    return (await isSupervised(directory)) && (await readProcessState(directory)).wantUp
  })
}

async function stopService(needs: ActionNeeds, directory: string): Promise<void> {
  if (!(await isSupervised(directory))) return
  await commandService(directory, 'down')
  const timeoutMs = STOP_TIMEOUT_MS_MAX + KILL_GRACE_MS
  await until(needs, `${directory} to stop`, timeoutMs, async () => {
    const state = await readProcessState(directory)
    return !state.up && !state.wantUp
  })
}

/**
 * What reloads after it may need what it has opened just now. One that stays silent keeps nobody
 * from going on: its state is told by the observer.
 */
async function answersAgain(needs: ActionNeeds, { service }: RenderedService): Promise<void> {
  if (service.probe.kind !== 'tcp') return
  const prober = makeProber(service.probe)
  const answers = async () => (await prober.ask()).ready
  try {
    await until(needs, `${service.name} to answer`, ANSWER_TIMEOUT_MS, answers)
  } catch {
    return
  } finally {
    prober.close()
  }
}

/** Stops the service and leaves nothing of it: no process, supervisor, logger or directory. */
export async function removeService(needs: ActionNeeds, name: string): Promise<void> {
  const directory = serviceDirectory(needs.root, name)
  await stopService(needs, directory)
  await killLeftovers(needs, directory)
  const retired = await retireService(needs.root, name)
  await dropRetired(needs, retired)
}

/** Ends the supervision of a retired directory, then removes it. Safe to repeat. */
export async function dropRetired(needs: ActionNeeds, retired: string): Promise<void> {
  await rescan(join(needs.root.path, HOST_LAYOUT.services))
  await until(needs, `the supervisors of ${retired} to end`, SUPERVISE_TIMEOUT_MS, async () => {
    return !(await isSupervised(retired)) && !(await isSupervised(join(retired, 'log')))
  })
  await discardWork(retired)
}

/**
 * Ends what outlived its service: when Patroni had to be killed, or was stopped while it started
 * PostgreSQL, that goes on, and nobody would own it once the service is removed. At SIGQUIT
 * PostgreSQL ends at once and takes its socket with it; whatever else is there is killed.
 */
async function killLeftovers(needs: ActionNeeds, directory: string): Promise<void> {
  const deadlineMs = performance.now() + QUIT_GRACE_MS
  const asked = new Set<number>()
  for (;;) {
    const left = await findMarked(directory)
    if (left.length === 0) return
    const late = needs.signal.aborted || performance.now() > deadlineMs
    for (const pid of left.filter((pid) => late || !asked.has(pid))) {
      signalIfThere(pid, late ? 'SIGKILL' : 'SIGQUIT')
      asked.add(pid)
    }
    if (late) return
    await pause(POLL_MS, needs.signal)
  }
}

async function findMarked(directory: string): Promise<number[]> {
  const mark = `${SERVICE_MARK}=${directory}`
  const found: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue
    const environment = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '')
    if (environment.split('\0').includes(mark)) found.push(Number(entry))
  }
  return found
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error
  }
}

async function until(
  needs: ActionNeeds,
  what: string,
  timeoutMs: number,
  holds: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await holds())) {
    if (needs.signal.aborted) throw new Error('stopped')
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`)
    await pause(POLL_MS, needs.signal)
  }
}
