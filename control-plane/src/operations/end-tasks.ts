// Owns the end of what a cancelled operation still has running on hosts.
import { hostsById } from '../clusters/cluster-view.ts'
import { listUnended, withdrawTasks } from '../db/tasks.ts'
import type { StepContext } from './operation.ts'

const END_TIMEOUT_MS = 30_000

/**
 * Waits until each agent that is there has said that it ended them; one that is away ends them when
 * it comes back.
 */
export async function endTasks(step: StepContext): Promise<void> {
  const { database, operationId } = step
  await database.transaction((tx) => withdrawTasks(tx, operationId))
  const topics = (await listUnended(database, operationId)).map((id) => `report:${id}`)
  await step.until(topics, END_TIMEOUT_MS, async () => {
    const hosts = await hostsById(database)
    const names = (await listUnended(database, operationId)).flatMap((id) => {
      const host = hosts.get(id)
      return host?.online === true ? [host.name] : []
    })
    await step.say(names.length === 0 ? 'nothing runs any more' : `waits for ${names.join(', ')}`)
    return names.length === 0 ? true : undefined
  })
}
