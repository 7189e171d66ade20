// Owns the benches of planned work under sixteen clients: a change of leader, and a restart of all
// instances. How many transactions fail, and how long the unluckiest client waits.
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../test/harness/until.ts'
import type { OurStack } from '../our-stack.ts'
import type { Stack } from '../stack.ts'
import { startTransactionClients } from './transaction-clients.ts'
import { settle, type Trial } from './trials.ts'

const WARM_UP_TIMEOUT_MS = 60_000
const WARM_UP_COMMITS = 20
const COOL_DOWN_MS = 1000

export const switchoverTrial: Trial = {
  kind: 'switchover',
  run: async (stack, round) => {
    const to = await stack.candidate()
    return underClients(stack, round, () => stack.switchover(to))
  },
}

export const restartTrial: Trial = {
  kind: 'rolling-restart',
  run: (stack, round) => underClients(stack, round, () => stack.restartAll()),
}

async function underClients(
  stack: Stack,
  round: number,
  act: () => Promise<void>,
): Promise<Record<string, unknown>> {
  const from = await stack.waitWhole()
  const clients = await startTransactionClients(stack.write, round)
  await until('every client to commit', WARM_UP_TIMEOUT_MS, () => {
    const least = clients.committedMin()
    return least >= WARM_UP_COMMITS ? { value: true } : { seen: `${least} commits` }
  })
  const startedMs = performance.now()
  await act()
  const answeredMs = Math.round(performance.now() - startedMs)
  // A peer's proxy may still have to notice: clients work until it has, and a while longer.
  const leader = await settle(stack)
  await delay(COOL_DOWN_MS)
  const report = await clients.stop()
  const { errors, ...numbers } = report
  const said = 'lastReport' in stack ? saidOf(stack as OurStack) : undefined
  return {
    ...numbers,
    answeredMs,
    from,
    to: leader,
    errors,
    ...(said === undefined ? {} : { said }),
  }
}

/** What our own operation says of its change of leader, to hold against what the clients saw. */
function saidOf(stack: OurStack): string | undefined {
  return stack.lastReport()?.steps.find(({ name }) => name === 'hand-over')?.message
}
