// Owns reading past events: pages by the id of the last one, as the stream does.
import type { Event } from '@howdah/core/contract/operations.ts'
import type { ApiClient, Query } from './api-client.ts'

const PAGE_SIZE = 1000
const PAGE_COUNT_MAX = 100

/** The newest `countMax` events after `query.after` (default: the first), the oldest first. */
export async function listEvents(
  client: ApiClient,
  query: Query,
  countMax: number,
): Promise<Event[]> {
  let events: Event[] = []
  let after = query.after ?? '0'
  for (let page = 0; page < PAGE_COUNT_MAX; page += 1) {
    const reply = await client.get<{ data: Event[] }>('/v1/events', {
      ...query,
      after,
      limit: PAGE_SIZE,
    })
    events = [...events, ...reply.data].slice(-countMax)
    after = reply.data.at(-1)?.id ?? after
    if (reply.data.length < PAGE_SIZE) break
  }
  return events
}
