// Owns what the platform hears of this host: a report at once when something changed or a task
// ended, and a heartbeat otherwise. A report carries the whole state, so a lost one loses nothing.
import { describeError } from '@howdah/core/errors.ts'
import type { ReportRequest } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import { makeBackoff } from './backoff.ts'
import type { ControlPlane } from './control-plane.ts'
import type { EventStore } from './event-store.ts'
import type { ResultStore } from './tasks/result-store.ts'
import type { Wake } from './wake.ts'

const HEARTBEAT_MS = 10_000

export interface ReportNeeds {
  controlPlane: ControlPlane
  results: ResultStore
  /** Woken by whoever has something to tell. */
  wake: Wake
  events: EventStore
  read: () => Omit<ReportRequest, 'results' | 'events'>
  log: Logger
  signal: AbortSignal
}

export async function runReportLoop(needs: ReportNeeds): Promise<void> {
  const backoff = makeBackoff({ minMs: 200, maxMs: 5000 })
  let failing = ''
  while (!needs.signal.aborted) {
    let waitMs = HEARTBEAT_MS
    try {
      const results = needs.results.pending()
      const events = needs.events.pending()
      const request = { ...needs.read(), results, events }
      const reply = await needs.controlPlane.report(request, needs.signal)
      await needs.results.markStored(reply.storedResults)
      await needs.events.forget(reply.storedEvents ?? [])
      failing = ''
      backoff.reset()
      // More waits than one report holds, and the control plane is taking it.
      if (reply.storedResults.length > 0 && needs.results.pending().length > 0) waitMs = 0
    } catch (error) {
      if (needs.signal.aborted) return
      const said = describeError(error)
      if (said !== failing) needs.log.warn({ error: said }, 'report failed')
      failing = said
      waitMs = backoff.nextMs()
    }
    await needs.wake.wait(waitMs, needs.signal)
  }
}
