// Owns how the agent asks a service whether it does its work. A probe never throws: what it could
// not find out is its verdict.
import type { Agent } from 'node:https'
import { connect } from 'node:net'
import { describeError } from '@howdah/core/errors.ts'
import type { Probe } from '@howdah/core/host-spec.ts'
import type { PatroniStatus } from '@howdah/core/protocol.ts'
import { makeHttpsAgent, sendRequest } from '../https-request.ts'
import { parsePatroniStatus, UNKNOWN_PATRONI } from './patroni-status.ts'

const PROBE_TIMEOUT_MS = 2000
const REPLY_BYTES_MAX = 65_536

export interface Verdict {
  ready: boolean
  /** Completes a sentence: "it is up and …". */
  said: string
  patroni?: PatroniStatus
}

export interface Prober {
  /** How often a service that is ready is asked again, at least. */
  intervalMs: number
  /** The same while its status has just changed, and may again. */
  inMotionIntervalMs: number
  ask(): Promise<Verdict>
  close(): void
}

export function makeProber(probe: Probe): Prober {
  switch (probe.kind) {
    case 'none':
      return {
        intervalMs: Number.POSITIVE_INFINITY,
        inMotionIntervalMs: Number.POSITIVE_INFINITY,
        ask: async () => ({ ready: true, said: 'has no probe' }),
        close: () => undefined,
      }
    case 'tcp':
      // Each probe is a connection in the service's log, and a dead process shows without one.
      return {
        intervalMs: 5000,
        inMotionIntervalMs: 5000,
        ask: () => askTcp(probe),
        close: () => undefined,
      }
    case 'etcd':
      // etcd answers health by a write through its consensus: asking often costs every member.
      return makeHttpsProber(probe, [3000, 3000], askEtcd)
    case 'patroni':
      return makeHttpsProber(probe, [1000, 200], askPatroni)
    default:
      throw new Error(`BUG: unknown probe ${JSON.stringify(probe satisfies never)}`)
  }
}

interface Target {
  address: string
  port: number
  caPem: string
}

type Ask = (agent: Agent, base: string) => Promise<Verdict>

function makeHttpsProber(
  target: Target,
  [intervalMs, inMotionIntervalMs]: [number, number],
  ask: Ask,
): Prober {
  const host = target.address.includes(':') ? `[${target.address}]` : target.address
  // Our own host's service: the CA proves that it is the platform's, its name adds nothing.
  const agent = makeHttpsAgent({ caPem: target.caPem, checkName: false })
  return {
    intervalMs,
    inMotionIntervalMs,
    ask: () => ask(agent, `https://${host}:${target.port}`),
    close: () => agent.destroy(),
  }
}

async function askEtcd(agent: Agent, base: string): Promise<Verdict> {
  try {
    const { status, text } = await get(agent, `${base}/health`)
    const healthy = status === 200 && /"health"\s*:\s*"?true/.test(text)
    return { ready: healthy, said: healthy ? 'healthy' : `not healthy: ${text.slice(0, 200)}` }
  } catch (error) {
    return { ready: false, said: `does not answer: ${describeError(error)}`.slice(0, 300) }
  }
}

/**
 * `/health` says the same as `/patroni`, which waits 1 to 1.8 s when PostgreSQL refuses a session:
 * for the end of a start, of all moments.
 */
async function askPatroni(agent: Agent, base: string): Promise<Verdict> {
  const ask = async () => parsePatroniStatus(JSON.parse((await get(agent, `${base}/health`)).text))
  try {
    const first = await ask()
    // Its session was cut, and the next question opens another one.
    const patroni = first.state === 'unknown' ? await ask() : first
    const serving = patroni.state === 'running' || patroni.state === 'streaming'
    const ready = serving && patroni.role !== 'unknown'
    return { ready, said: `${patroni.role}, ${patroni.state}`, patroni }
  } catch (error) {
    const said = `does not answer: ${describeError(error)}`.slice(0, 300)
    return { ready: false, said, patroni: UNKNOWN_PATRONI }
  }
}

function get(agent: Agent, url: string) {
  return sendRequest({
    agent,
    url,
    method: 'GET',
    timeoutMs: PROBE_TIMEOUT_MS,
    responseBytesMax: REPLY_BYTES_MAX,
  })
}

async function askTcp(target: { address: string; port: number }): Promise<Verdict> {
  return await new Promise((resolve) => {
    const socket = connect({ host: target.address, port: target.port })
    const finish = (verdict: Verdict) => {
      socket.destroy()
      resolve(verdict)
    }
    socket.setTimeout(PROBE_TIMEOUT_MS, () => finish({ ready: false, said: 'does not accept' }))
    socket.on('connect', () => finish({ ready: true, said: 'accepts connections' }))
    socket.on('error', (error) => finish({ ready: false, said: describeError(error) }))
  })
}
