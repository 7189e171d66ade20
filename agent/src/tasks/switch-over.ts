// Owns a switchover as far as the leader's Patroni does it: begun, up to where it would stop
// PostgreSQL and asks (leaving.ts), and ended: let go, or kept. What Patroni answers is remembered
// in between; when this agent dies there, Patroni hears no answer, and stays.
import type { TaskAction } from '@howdah/core/protocol.ts'
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
  /** Patroni's answer; at once where it stays. Throws `refused` when nothing waits here. */
  end(instance: string, goes: boolean): Promise<PatroniAnswer | undefined>
}

export function makeSwitchovers(leaving: Leaving): Switchovers {
  const underWay = new Map<string, Promise<PatroniAnswer>>()
  return {
    async begin({ instance, patroni, candidate }, signal) {
      // Of an operation that began anew: its withdrawal must not meet the next request.
      leaving.answer(instance, false)
      await underWay.get(instance)?.catch(() => undefined)
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
      const answer = callPatroni(request, {
        timeoutMs: PATRONI_TIMEOUT_MS,
        signal: AbortSignal.timeout(PATRONI_TIMEOUT_MS),
      })
      underWay.set(instance, answer)
      const forget = () => {
        if (underWay.get(instance) === answer) underWay.delete(instance)
      }
      void answer.then(forget, forget)
      try {
        const begun = asked.then(() => ({ begun: 'asks' }) as const)
        const refused = answer.then((said) => ({ begun: 'refused', ...said }) as const)
        return await Promise.race([begun, refused])
      } finally {
        asked.catch(() => undefined)
        given.abort()
      }
    },
    async end(instance, goes) {
      const answer = underWay.get(instance)
      if (answer === undefined || !leaving.answer(instance, goes)) {
        throw new TaskError('refused', `${instance} does not wait to be let go any more`)
      }
      return goes ? await answer : undefined
    },
  }
}
