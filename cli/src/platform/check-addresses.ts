// Owns the check that the platform's addresses and first ports are free, by binding each for a
// moment.
import { createServer } from 'node:net'
import { AGENT_PORT, API_PORT } from '@howdah/core/contract/resource.ts'
import { type CheckResult, fail, ok } from './check.ts'
import type { PlatformLayout } from './layout.ts'
import { findPortHolder } from './port-holder.ts'

// Of the dcs and the first cluster; those of further clusters are chosen when they are created.
const DATA_PORTS = [2379, 2380, 5432, 8008]
const GATEWAY_PORTS = [5000, 5001, 5002, 5003, 5004, 8404]

export async function checkAddresses(layout: PlatformLayout): Promise<CheckResult> {
  const wanted: [string, number][] = [API_PORT, AGENT_PORT].map((port) => [
    layout.controlPlaneAddress,
    port,
  ])
  for (const host of layout.hosts) {
    const ports = host.role === 'data' ? DATA_PORTS : GATEWAY_PORTS
    for (const port of ports) wanted.push([host.address, port])
  }
  const problems = await Promise.all(
    wanted.map(([address, port]) => explainBusyPort(address, port)),
  )
  const found = problems.filter((problem) => problem !== undefined)
  const first = layout.hosts[0]?.address
  if (found.length === 0) {
    return ok(
      'addresses',
      `${first} … ${layout.controlPlaneAddress}: ${wanted.length} ports are free`,
    )
  }
  const fix = 'stop what holds them, or choose other addresses: HOWDAH_SUBNET=127.43.0'
  return fail('addresses', found.join('; '), fix)
}

/** Undefined when the port is free. */
export async function explainBusyPort(address: string, port: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const server = createServer()
  server.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') {
      return resolve(`${address}:${port} cannot be used (${error.code})`)
    }
    const holder = findPortHolder(address, port)
    resolve(`${address}:${port} is in use${holder === undefined ? '' : ` by ${holder}`}`)
  })
  server.listen({ host: address, port, exclusive: true }, () =>
    server.close(() => resolve(undefined)),
  )
  return promise
}
