// Owns the loop that makes the host what its spec says. Level-triggered: each pass looks at what is
// there and starts what is missing, so it does not matter how often a pass runs or where the last
// one was cut. Services change side by side; a slow stop delays no other service.
import { describeError } from '@howdah/core/errors.ts'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { type Backoff, makeBackoff } from '../backoff.ts'
import type { Refusals } from '../gateway/refusals.ts'
import type { HostRoot } from '../host-root.ts'
import { makeWake, type Wake } from '../wake.ts'
import { sweepConfigFiles, writeConfigFiles } from './config-files.ts'
import { planService, type ServiceAction } from './plan-service.ts'
import { type ActionNeeds, dropRetired, removeService, runAction } from './run-action.ts'
import { isSupervised, readProcessState } from './s6.ts'
import {
  listRetired,
  listServices,
  type RenderedService,
  readRecord,
  renderService,
  serviceDirectory,
} from './service-directory.ts'

/** Looks again without a reason this often: it repairs what somebody else changed. */
const DRIFT_CHECK_MS = 60_000

export interface ApplyState {
  /** -1: none yet. Files are written and services are started or stopped; not: ready. */
  appliedRevision: number
  /** Why the newest spec is not applied; empty when it is or is being applied. */
  applyError: string
}

export interface Reconciler {
  /** A spec that is checked and on disk. */
  offer(spec: HostSpec): void
  state(): ApplyState
  spec(): HostSpec | undefined
  /** For how long nothing was asked for and nothing changed; 0 while something is under way. */
  quietMs(): number
  /** Ends when `signal` aborted and no action is half-way. */
  run(): Promise<void>
}

export interface ReconcilerNeeds {
  root: HostRoot
  refusals: Refusals
  log: Logger
  signal: AbortSignal
  onChange: () => void
}

interface Loop extends ReconcilerNeeds {
  spec: HostSpec | undefined
  state: ApplyState
  /** Services that an action is changing now; a pass leaves them alone. */
  busy: Map<string, Promise<void>>
  /** Of those, the one that reloads. */
  reloads: Set<string>
  failures: Map<string, string>
  changedMs: number
  wake: Wake
  backoff: Backoff
}

export function makeReconciler(needs: ReconcilerNeeds): Reconciler {
  const loop: Loop = {
    ...needs,
    spec: undefined,
    state: { appliedRevision: -1, applyError: '' },
    busy: new Map(),
    reloads: new Set(),
    failures: new Map(),
    changedMs: performance.now(),
    wake: makeWake(),
    backoff: makeBackoff({ minMs: 500, maxMs: 30_000 }),
  }
  return {
    offer(spec) {
      loop.spec = spec
      loop.changedMs = performance.now()
      loop.backoff.reset()
      loop.wake.wake()
    },
    state: () => loop.state,
    spec: () => loop.spec,
    quietMs: () => (loop.busy.size > 0 ? 0 : performance.now() - loop.changedMs),
    run: () => runLoop(loop),
  }
}

async function runLoop(loop: Loop): Promise<void> {
  while (!loop.signal.aborted) {
    let waitMs = DRIFT_CHECK_MS
    try {
      if (loop.spec !== undefined) await runPass(loop, loop.spec)
    } catch (error) {
      setState(loop, { applyError: describeError(error) })
    }
    if (loop.state.applyError !== '') waitMs = loop.backoff.nextMs()
    await loop.wake.wait(waitMs, loop.signal)
  }
  await Promise.allSettled([...loop.busy.values(), loop.refusals.keep([])])
}

async function runPass(loop: Loop, spec: HostSpec): Promise<void> {
  await writeConfigFiles(loop.root, spec)
  // Before any service is started: it may be the one that the port is meant for.
  await loop.refusals.keep(spec.refusals ?? [])
  await startRetiredDrops(loop)
  await startActions(loop, spec)
  const errors = [...loop.failures].map(([name, error]) => `${name}: ${error}`)
  loop.failures.clear()
  if (errors.length > 0) return setState(loop, { applyError: errors.join('; ') })
  if (loop.busy.size > 0) return
  await sweepConfigFiles(loop.root, spec)
  loop.backoff.reset()
  setState(loop, { appliedRevision: spec.revision, applyError: '' })
}

async function startActions(loop: Loop, spec: HostSpec): Promise<void> {
  const needs: ActionNeeds = { root: loop.root, signal: loop.signal }
  const wanted = new Set(spec.services.map((service) => service.name))
  for (const service of spec.services) {
    if (isHeld(loop, service.name)) continue
    try {
      const rendered = await renderService(loop.root, spec, service)
      const action = await planFor(loop.root, rendered)
      if (action === 'none') continue
      // One after the other, in the spec's order: a pooler may have been told of a port that its
      // HAProxy has not opened yet. The end of each is followed by another pass.
      if (action === 'reload' && loop.reloads.size > 0) continue
      if (action === 'reload') loop.reloads.add(service.name)
      start(loop, service.name, action, () => runAction(needs, action, rendered))
    } catch (error) {
      loop.failures.set(service.name, describeError(error))
    }
  }
  for (const name of await listServices(loop.root)) {
    if (wanted.has(name) || isHeld(loop, name)) continue
    start(loop, name, 'remove', () => removeService(needs, name))
  }
}

/** What a crash left between retiring a service and the end of its supervisors. */
async function startRetiredDrops(loop: Loop): Promise<void> {
  if (loop.busy.size > 0) return
  const needs: ActionNeeds = { root: loop.root, signal: loop.signal }
  for (const retired of await listRetired(loop.root)) {
    start(loop, retired, 'drop', () => dropRetired(needs, retired))
  }
}

// One that failed in this round is retried only after the back-off, whoever wakes the loop.
function isHeld(loop: Loop, name: string): boolean {
  return loop.busy.has(name) || loop.failures.has(name)
}

async function planFor(root: HostRoot, rendered: RenderedService): Promise<ServiceAction> {
  const { name } = rendered.service
  const directory = serviceDirectory(root, name)
  const [record, supervised, process] = await Promise.all([
    readRecord(root, name),
    isSupervised(directory),
    readProcessState(directory),
  ])
  return planService(rendered.record, { record, supervised, wantUp: process.wantUp })
}

function start(loop: Loop, name: string, action: string, act: () => Promise<void>): void {
  const startedMs = performance.now()
  const work = act()
    .then(() => {
      const tookMs = Math.round(performance.now() - startedMs)
      loop.log.info({ service: name, action, tookMs }, 'service changed')
    })
    .catch((error: unknown) => {
      if (!loop.signal.aborted) loop.failures.set(name, describeError(error))
    })
    .finally(() => {
      loop.busy.delete(name)
      loop.reloads.delete(name)
      loop.changedMs = performance.now()
      loop.wake.wake()
    })
  loop.busy.set(name, work)
}

function setState(loop: Loop, change: Partial<ApplyState>): void {
  const next = { ...loop.state, ...change }
  const error = next.applyError.slice(0, 4000)
  const same =
    next.appliedRevision === loop.state.appliedRevision && error === loop.state.applyError
  if (same) return
  loop.state = { ...next, applyError: error }
  if (error === '') loop.log.info({ revision: next.appliedRevision }, 'spec applied')
  else loop.log.warn({ error }, 'spec not applied yet')
  loop.onChange()
}
