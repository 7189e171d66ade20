// Owns the ports of closed gateways while no service has them: listens there and has clients told
// why. Opening is tried until it works, as a service that stops keeps its port for a moment; the
// reconciler says which ports, and waits for those that a service is to have again.
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import { describeError } from '@howdah/core/errors.ts'
import type { Refusal } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { makeBackoff } from '../backoff.ts'
import { pause } from '../wake.ts'
import { refuseClient, renderError } from './refuse-client.ts'

/** At one port; more are closed without a word, so that no storm of clients takes the agent. */
const CLIENTS_MAX = 100
const RETRY = { minMs: 50, maxMs: 2000 }

export interface Refusals {
  /** Refuses at these ports and no others, which are free once this has ended. */
  keep(refusals: readonly Refusal[]): Promise<void>
}

interface RefusedPort extends Omit<Refusal, 'ports'> {
  port: number
}

interface Held {
  abort: AbortController
  done: Promise<void>
}

export function makeRefusals(log: Logger): Refusals {
  /** By definition: one with other words is another one. */
  const held = new Map<string, Held>()
  return {
    async keep(refusals) {
      const wanted = new Map<string, RefusedPort>()
      for (const { ports, ...rest } of refusals) {
        for (const port of ports) wanted.set(JSON.stringify({ ...rest, port }), { ...rest, port })
      }
      const ending = [...held].filter(([definition]) => !wanted.has(definition))
      for (const [definition, { abort }] of ending) {
        abort.abort()
        held.delete(definition)
      }
      await Promise.all(ending.map(([, { done }]) => done))
      for (const [definition, refused] of wanted) {
        if (held.has(definition)) continue
        const abort = new AbortController()
        held.set(definition, { abort, done: refuseAt(refused, log, abort.signal) })
      }
    },
  }
}

async function refuseAt(refused: RefusedPort, log: Logger, signal: AbortSignal): Promise<void> {
  const { address, port } = refused
  const backoff = makeBackoff(RETRY)
  let said = ''
  while (!signal.aborted) {
    try {
      return await listen(refused, log, signal)
    } catch (error) {
      const failure = describeError(error)
      if (failure !== said) log.info({ address, port, error: failure }, 'clients not refused yet')
      said = failure
      await pause(backoff.nextMs(), signal)
    }
  }
}

/** Until `signal` aborts: then the port is free. Throws when it cannot be had. */
async function listen(refused: RefusedPort, log: Logger, signal: AbortSignal): Promise<void> {
  const { address, port, certificatePem, keyPem } = refused
  const context = createSecureContext({ cert: certificatePem, key: keyPem })
  const refusal = { context, error: renderError(refused) }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    refuseClient(socket, refusal)
  })
  server.maxConnections = CLIENTS_MAX
  server.listen(port, address)
  await once(server, 'listening')
  // One that could not be accepted is not worth more: the next is.
  server.on('error', (error) => log.debug({ port, error: describeError(error) }, 'not accepted'))
  log.info({ address, port }, 'clients refused')
  if (!signal.aborted) await once(signal, 'abort')
  server.close()
  for (const socket of sockets) socket.destroy()
  await once(server, 'close')
}
