// Changes the leader on purpose, without a failed transaction: clients of the pooled endpoint wait
// meanwhile.
import { waitReplicas } from './bring-up.ts'
import { describeHandOver, handOver, preflight, refuseLongTransactions } from './hand-over.ts'
import type { OperationDefinition } from './operation.ts'

export const switchover: OperationDefinition<{ to: string | null }> = {
  kind: 'switchover',
  steps: [
    { name: 'preflight', title: 'checks that a replica can take over' },
    { name: 'hand-over', title: 'holds the clients and changes the leader' },
    { name: 'wait-replicas', title: 'waits until the others follow' },
  ],
  async run({ step, input }) {
    const plan = await step('preflight', async (context) => {
      const { leader, candidate } = await preflight(context, input.to ?? undefined)
      await refuseLongTransactions(context)
      await context.say(`from ${leader.instance.name} to ${candidate.name}`)
      return { from: leader.instance.name, to: candidate.name }
    })
    await step('hand-over', async (context) => {
      const report = await handOver(context, plan.from, plan.to)
      await context.say(describeHandOver(report))
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
