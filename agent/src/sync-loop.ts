// Owns the long poll by which specs and tasks come to this host. A spec is accepted when it is
// checked, newer than the one held, and on disk; only then may anything act on it.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { SyncReply } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import { checkSpec } from './apply/check-spec.ts'
import { saveSpec } from './apply/spec-store.ts'
import { makeBackoff } from './backoff.ts'
import type { ControlPlane } from './control-plane.ts'
import type { HostRoot } from './host-root.ts'
import type { FactsReader } from './observe/host-facts.ts'
import type { TaskRunner } from './tasks/task-runner.ts'
import { pause } from './wake.ts'

/** A reply with nothing new in it that comes sooner than this is not a long poll. */
const IDLE_ROUND_MS_MIN = 500

export interface SyncNeeds {
  root: HostRoot
  hostId: string
  controlPlane: ControlPlane
  readFacts: FactsReader
  tasks: TaskRunner
  log: Logger
  signal: AbortSignal
  heldSpec: () => HostSpec | undefined
  onSpec: (spec: HostSpec) => void
  /** Why the last reply was refused; empty when it was not. Shown to people by the report. */
  onRefusal: (reason: string) => void
}

export async function runSyncLoop(needs: SyncNeeds): Promise<void> {
  const backoff = makeBackoff({ minMs: 200, maxMs: 5000 })
  let failing = ''
  while (!needs.signal.aborted) {
    const startedMs = performance.now()
    try {
      const reply = await needs.controlPlane.sync(
        {
          heldRevision: needs.heldSpec()?.revision ?? -1,
          facts: await needs.readFacts(),
          knownTasks: needs.tasks.knownIds(),
        },
        needs.signal,
      )
      const tookSomething = await takeReply(needs, reply)
      if (failing !== '') needs.log.info('control plane reached')
      failing = ''
      backoff.reset()
      needs.onRefusal('')
      const tookMs = performance.now() - startedMs
      if (!tookSomething && tookMs < IDLE_ROUND_MS_MIN) {
        await pause(IDLE_ROUND_MS_MIN - tookMs, needs.signal)
      }
    } catch (error) {
      if (needs.signal.aborted) return
      const refused = error instanceof HowdahError && error.code === 'agent-refused'
      const said = describeError(error)
      if (refused) needs.onRefusal(said)
      if (said !== failing) needs.log.warn({ error: said }, 'sync failed')
      failing = said
      await pause(backoff.nextMs(), needs.signal)
    }
  }
}

/** Whether the reply held anything new. Tasks are taken even if the spec is refused. */
async function takeReply(needs: SyncNeeds, reply: SyncReply): Promise<boolean> {
  const known = new Set(needs.tasks.knownIds())
  await needs.tasks.withdraw(reply.withdrawn ?? [])
  needs.tasks.offer(reply.tasks)
  const newTasks = reply.tasks.some((task) => !known.has(task.id))
  if (reply.spec === undefined) return newTasks
  return (await takeSpec(needs, reply.spec)) || newTasks
}

async function takeSpec(needs: SyncNeeds, offered: HostSpec): Promise<boolean> {
  const held = needs.heldSpec()?.revision ?? -1
  if (offered.revision === held) return false
  if (offered.revision < held) {
    const said = `the spec ${offered.revision} is older than ${held}, which this host has`
    throw new HowdahError('agent-refused', said)
  }
  const spec = checkSpec(offered, needs.hostId)
  await saveSpec(needs.root, spec)
  needs.onSpec(spec)
  return true
}
