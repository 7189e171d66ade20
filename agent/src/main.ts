// The agent of one host: the only place where its parts are put together. It applies the host's
// spec, watches the services, runs tasks and reports; it owns no service's life, so ending it, in
// whatever way, ends nothing else.
import { describeError } from '@howdah/core/errors.ts'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { makeReconciler, type Reconciler } from './apply/reconciler.ts'
import { keepSpares } from './apply/spares.ts'
import { loadSpec } from './apply/spec-store.ts'
import { type ClusterGuard, makeClusterGuard, watchGuard } from './cluster-guard.ts'
import { type AgentConfig, loadConfig } from './config.ts'
import { connectControlPlane } from './control-plane.ts'
import { obtainIdentity } from './enrolment.ts'
import { openEventStore } from './event-store.ts'
import { openLastLeaders } from './gateway/last-leaders.ts'
import { makeRefusals } from './gateway/refusals.ts'
import { type HostRoot, openHostRoot } from './host-root.ts'
import type { Identity } from './identity.ts'
import { openLeaving } from './leaving.ts'
import { makeFactsReader } from './observe/host-facts.ts'
import { makeObserver, type Observer } from './observe/observer.ts'
import { keepIdentityValid } from './renewal.ts'
import { runReportLoop } from './report-loop.ts'
import { reserveBeats } from './sentinel/beat-sequence.ts'
import { runSyncLoop } from './sync-loop.ts'
import { makeExclusive } from './tasks/exclusive.ts'
import { openResultStore } from './tasks/result-store.ts'
import { removeTaskFiles } from './tasks/stray-programs.ts'
import { makeSwitchovers } from './tasks/switch-over.ts'
import { makeTaskRunner } from './tasks/task-runner.ts'
import { releaseThrottled } from './tasks/throttle.ts'
import { makeWake } from './wake.ts'

interface AgentParts {
  config: AgentConfig
  root: HostRoot
  identity: Identity
  log: pino.Logger
  signal: AbortSignal
}

async function main(): Promise<void> {
  const config = loadConfig()
  const log = pino({ level: config.logLevel, base: null })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort())
  const root = await openHostRoot(config.hostRoot, config.serviceUser)
  releaseThrottled(root.path)
  await removeTaskFiles(root.path)
  const identity = await obtainIdentity({
    root,
    controlPlanes: config.controlPlanes,
    tokenFile: config.enrolmentTokenFile,
    log,
    signal: stop.signal,
  })
  if (identity === undefined) return
  await runAgent({ config, root, identity, log, signal: stop.signal })
  log.info('agent stopped')
}

async function runAgent(parts: AgentParts): Promise<void> {
  const { config, root, identity, log, signal } = parts
  const wakeReport = makeWake()
  const onChange = () => wakeReport.wake()
  const refusal = makeRefusal(onChange)
  const observer = makeObserver({ root, onChange })
  const reconciler = makeReconciler({ root, refusals: makeRefusals(log), log, signal, onChange })
  const held = await loadHeldSpec(parts)
  const { events, guard } = await openGuard(parts, onChange)
  const onSpec = (spec: HostSpec) => {
    reconciler.offer(spec)
    observer.watch(spec)
    guard.guard(spec)
  }
  if (held !== undefined) onSpec(held)
  // From here on the host comes up as it was, whether or not anybody answers below.
  const applying = reconciler.run()

  const results = await openResultStore(root)
  const leaving = await openLeaving(root, log)
  const context = {
    root,
    switchovers: makeSwitchovers(leaving, guard),
    findSwitch: guard.findSwitch,
    exclusive: makeExclusive(),
    spec: reconciler.spec,
    appliedRevision: () => reconciler.state().appliedRevision,
  }
  const tasks = makeTaskRunner({ results, context, log, signal, onResult: onChange })
  const controlPlane = connectControlPlane(config.controlPlanes, identity)
  const readFacts = await makeFactsReader(root, config.memoryBytes)
  log.info({ host: identity.hostId, revision: held?.revision ?? -1 }, 'agent started')

  await Promise.all([
    applying,
    config.keepsSpares && keepSpares({ root, readFacts, quietMs: reconciler.quietMs, log, signal }),
    watchGuard(guard, onChange, signal),
    keepIdentityValid({ root, controlPlane, identity, log, signal }),
    runReportLoop({
      controlPlane,
      results,
      events,
      wake: wakeReport,
      read: () => readState({ reconciler, refusal: refusal.reason(), observer, guard }),
      log,
      signal,
    }),
    runSyncLoop({
      root,
      hostId: identity.hostId,
      controlPlane,
      readFacts,
      tasks,
      log,
      signal,
      heldSpec: reconciler.spec,
      onSpec,
      onRefusal: refusal.set,
    }),
  ])
  await Promise.all([observer.stop(), tasks.drain(), guard.stop(), leaving.close()])
  controlPlane.close()
}

async function openGuard({ root, identity, log }: AgentParts, onChange: () => void) {
  const events = await openEventStore(root, onChange)
  const leaders = await openLastLeaders(root)
  const guard = makeClusterGuard({
    hostId: identity.hostId,
    firstBeat: await reserveBeats(root, Date.now(), log),
    rootPath: root.path,
    dropTo: root.dropTo,
    events,
    leaders,
    log,
  })
  return { events, guard }
}

/** Why the last spec was refused, if it was: the control plane is told when that changes. */
function makeRefusal(onChange: () => void) {
  let reason = ''
  return {
    reason: () => reason,
    set: (newer: string) => {
      if (newer !== reason) onChange()
      reason = newer
    },
  }
}

interface Seen {
  reconciler: Reconciler
  refusal: string
  observer: Observer
  guard: ClusterGuard
}

function readState({ reconciler, refusal, observer, guard }: Seen) {
  const { appliedRevision, applyError: failure } = reconciler.state()
  const reasons = [refusal, failure].filter((reason) => reason !== '')
  const applyError = reasons.join('; ').slice(0, 4000).toWellFormed()
  return {
    appliedRevision,
    applyError,
    services: observer.statuses(),
    unheard: guard.unheard(),
    canaries: guard.canaries(),
  }
}

// An unreadable spec must not keep the agent down: the control plane sends a new one, and what
// runs goes on running.
async function loadHeldSpec(parts: AgentParts) {
  try {
    return await loadSpec(parts.root, parts.identity.hostId)
  } catch (error) {
    parts.log.error({ error: describeError(error) }, 'spec on disk not usable')
    return undefined
  }
}

main().catch((error: unknown) => {
  const line = { level: 60, msg: 'agent failed', error: describeError(error) }
  process.stderr.write(`${JSON.stringify(line)}\n`)
  process.exitCode = 1
})
