// Owns following a test platform's event stream as a client with a bad line does: it hangs up every
// few events and comes back with the id of the last one.
import type { Event } from '@howdah/core/contract/operations.ts'
import { openStream } from './api.ts'
import type { TestPlatform } from './platform.ts'

const CONNECTIONS_MAX = 500

/** All events in the order in which they came, up to and with the first whose kind is `last`. */
export async function followEvents(
  platform: TestPlatform,
  path: string,
  options: { last: RegExp; hangUpAfter: number; timeoutMs: number },
): Promise<Event[]> {
  const events: Event[] = []
  const deadlineMs = performance.now() + options.timeoutMs
  for (let connection = 0; connection < CONNECTIONS_MAX; connection += 1) {
    const stream = await openStream(platform.connection, path, events.at(-1)?.id)
    const timer = setTimeout(() => stream.destroy(), Math.max(0, deadlineMs - performance.now()))
    let text = ''
    let countHere = 0
    try {
      for await (const chunk of stream as AsyncIterable<string>) {
        const blocks = (text + chunk).split('\n\n')
        text = blocks.pop() ?? ''
        for (const event of blocks.flatMap(parseEvent)) {
          events.push(event)
          countHere += 1
          if (options.last.test(event.kind)) return events
          // What follows in this chunk is thrown away: a client that dies has not read it.
          if (countHere === options.hangUpAfter) break
        }
        if (countHere === options.hangUpAfter) break
      }
    } catch (error) {
      if (performance.now() < deadlineMs) throw error
    } finally {
      clearTimeout(timer)
      stream.destroy()
    }
    if (performance.now() > deadlineMs) break
  }
  const kinds = events.map(({ kind }) => kind)
  throw new Error(`waited for the event ${options.last}; seen: ${kinds.join(', ')}`)
}

/** None for a comment. */
function parseEvent(block: string): Event[] {
  const data = block.split('\n').find((line) => line.startsWith('data: '))
  return data === undefined ? [] : [JSON.parse(data.slice('data: '.length)) as Event]
}
