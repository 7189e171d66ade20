// Owns the end of a session with a server that may not answer any more. pg waits for the close of
// the socket that it began with, and one that was given up in the middle of its TLS handshake never
// tells: whoever waited for it would wait for ever.
import type pg from 'pg'
import { pause } from './wake.ts'

const GOODBYE_MS = 200

/** Never throws, and takes no longer than a moment. */
export async function endSession(client: pg.Client): Promise<void> {
  await Promise.race([
    client.end().catch(() => undefined),
    pause(GOODBYE_MS, new AbortController().signal),
  ])
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  connection?.stream?.destroy()
}
