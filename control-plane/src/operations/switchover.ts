// Changes the leader on purpose, without a failed transaction: clients of the pooled endpoint wait
// meanwhile.
import { runOnLeader } from '../clusters/leader-sql.ts'
import { waitReplicas } from './bring-up.ts'
import { handOver, mayPass, preflight, refuseLongTransactions, sayHandOver } from './hand-over.ts'
import { type OperationDefinition, type StepContext, unlessPaused } from './operation.ts'

/** Each look is a question to the leader. */
const LOOK_MS = 2000

interface SwitchoverInput {
  to: string | null
  /** Until when what is in the way is waited for; otherwise it ends the switchover. */
  until?: string | null
}

export const switchover: OperationDefinition<SwitchoverInput> = {
  kind: 'switchover',
  steps: [
    unlessPaused({ name: 'preflight', title: 'checks that a replica can take over' }),
    unlessPaused({ name: 'hand-over', title: 'holds the clients and changes the leader' }),
    { name: 'wait-replicas', title: 'waits until the others follow' },
  ],
  async run({ step, input }) {
    const plan = await step('preflight', async (context) => {
      const found = await waitForWay(context, input)
      await context.say(`from ${found.from} to ${found.to}`)
      return found
    })
    await step('hand-over', async (context) => {
      const report = await handOver(context, plan.from, plan.to)
      await sayHandOver(context, report)
      return report
    })
    await step('wait-replicas', (context) =>
      // A host that is away must not fail a switchover that is over.
      waitReplicas(context, undefined, { withoutAway: true }),
    )
  },
  // Until the hand-over nothing has changed, and the hand-over undoes itself.
  undo: { steps: [], run: async () => {} },
}

async function waitForWay(step: StepContext, { to, until }: SwitchoverInput) {
  const look = async () => {
    const { leader, candidate } = await preflight(step, to ?? undefined)
    await refuseLongTransactions((asked) => runOnLeader(step, 'postgres', [asked]))
    return { from: leader.instance.name, to: candidate.name }
  }
  if (until === undefined || until === null) return look()
  let nextLookMs = 0
  return step.until([], Math.max(0, Date.parse(until) - Date.now()), async () => {
    if (performance.now() < nextLookMs) return undefined
    nextLookMs = performance.now() + LOOK_MS
    try {
      return await look()
    } catch (error) {
      if (!mayPass(error)) throw error
      await step.say(error.message)
      return undefined
    }
  })
}
