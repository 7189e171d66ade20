// Owns the begin and the end of a session with a server that may not answer any more. pg waits for
// events of sockets, and one that was given up in the middle of its TLS handshake never tells:
// whoever waited for it would wait for ever.
import pg from 'pg'
import { withDeadline } from './deadline.ts'
import { pause } from './wake.ts'

const GOODBYE_MS = 200
/** pg's own limit comes first: its errors say more. */
const LATE_MS = 250

/** Rejects when there is no session within `timeoutMs`; then nothing is left of it. */
export async function openSession(config: pg.ClientConfig, timeoutMs: number): Promise<pg.Client> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: timeoutMs })
  // Without a listener the loss of an idle connection would end the agent.
  client.on('error', () => undefined)
  try {
    await withDeadline(client.connect(), timeoutMs + LATE_MS, 'a session')
    return client
  } catch (error) {
    await endSession(client)
    throw error
  }
}

/** Never throws, and takes no longer than a moment. */
export async function endSession(client: pg.Client): Promise<void> {
  await Promise.race([
    client.end().catch(() => undefined),
    pause(GOODBYE_MS, new AbortController().signal),
  ])
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  connection?.stream?.destroy()
}
