// Owns a switchover as far as the leader's Patroni does it: begun, up to where it would stop
// PostgreSQL and asks (leaving.ts), and ended: let go, or kept. It is let go as soon as the
// gateways are heard to hold their clients, as the way over the control plane takes ten times as
// long while they wait. What Patroni answers is remembered in between; when this agent dies there,
// Patroni hears no answer, and stays.
import type { TaskAction } from '@howdah/core/protocol.ts'
import type { ClusterGuard } from '../cluster-guard.ts'
import type { Leaving } from '../leaving.ts'
import { callPatroni, type PatroniAnswer } from './call-patroni.ts'
import { TaskError } from './task-error.ts'

type BeginAction = Extract<TaskAction, { kind: 'begin-switchover' }>

/** Patroni answers when it is over, or gives up: it looks 20 times, once a second. */
const PATRONI_TIMEOUT_MS = 30_000

export type Begun =
  /** It waits to be let go; `end` must follow within seconds. */
  | { begun: 'asks' }
  /** This Patroni does not ask: nothing was begun. */
  | { begun: 'asks-nobody' }
  /** It does not begin, and says why. */
  | ({ begun: 'refused' } & PatroniAnswer)

export interface Switchovers {
  begin(action: BeginAction, signal: AbortSignal): Promise<Begun>
  /**
   * Patroni's answer; at once where it stays. Throws `refused` when it is too late for that: it has
   * gone, or stays already.
   */
  end(instance: string, goes: boolean): Promise<PatroniAnswer | undefined>
}

interface UnderWay {
  answer: Promise<PatroniAnswer>
  gone: boolean
}

export function makeSwitchovers(
  leaving: Leaving,
  guard: Pick<ClusterGuard, 'awaitHeld'>,
): Switchovers {
  const underWay = new Map<string, UnderWay>()

  function answer(instance: string, goes: boolean): boolean {
    const mine = underWay.get(instance)
    if (mine === undefined || !leaving.answer(instance, goes)) return false
    mine.gone = goes
    return true
  }

  return {
    async begin({ clusterId, gateways, instance, patroni, candidate }, signal) {
      // Of an operation that began anew: its withdrawal must not meet the next request.
      answer(instance, false)
      await underWay.get(instance)?.answer.catch(() => undefined)
      if (!(await leaving.asks(instance, signal))) return { begun: 'asks-nobody' }
      const given = new AbortController()
      const asked = leaving.expect(instance, AbortSignal.any([signal, given.signal]))
      const request = {
        kind: 'patroni',
        ...patroni,
        method: 'POST',
        path: '/switchover',
        body: { leader: instance, candidate },
      } as const
      const over = AbortSignal.timeout(PATRONI_TIMEOUT_MS)
      const said = callPatroni(request, { timeoutMs: PATRONI_TIMEOUT_MS, signal: over })
      const mine = { answer: said, gone: false }
      underWay.set(instance, mine)
      const forget = () => {
        if (underWay.get(instance) === mine) underWay.delete(instance)
      }
      void said.then(forget, forget)
      try {
        const begun = asked.then(() => ({ begun: 'asks' }) as const)
        const refused = said.then((reply) => ({ begun: 'refused', ...reply }) as const)
        const found = await Promise.race([begun, refused])
        if (found.begun === 'asks') {
          const held = guard.awaitHeld(clusterId, gateways, over)
          const go = () => underWay.get(instance) === mine && answer(instance, true)
          void held.then(go).catch(() => undefined)
        }
        return found
      } finally {
        asked.catch(() => undefined)
        given.abort()
      }
    },
    async end(instance, goes) {
      const mine = underWay.get(instance)
      if (mine !== undefined && (answer(instance, goes) || (goes && mine.gone))) {
        return goes ? await mine.answer : undefined
      }
      throw new TaskError('refused', `${instance} does not wait to be let go any more`)
    },
  }
}
