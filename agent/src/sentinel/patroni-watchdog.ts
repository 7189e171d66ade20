// Owns the watch over one Patroni of this host: one that has stopped doing its rounds is killed,
// and s6 starts it again. It hangs for good when an answer of the dcs got lost on the way while it
// was logging in there: it waits for that answer without a limit. PostgreSQL is left alone; the new
// Patroni finds it and goes on.
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { readProcessState } from '../apply/s6.ts'
import { makeHttpsAgent, sendRequest } from '../https-request.ts'
import { pause } from '../wake.ts'
import { killPatroni } from './fence.ts'

const ASK_EVERY_MS = 2000
const ASK_TIMEOUT_MS = 1000
/** Longer than its lease and its retries: what a slow dcs costs is no hang. */
const HANG_MS = 30_000
const REPLY_BYTES_MAX = 65_536

export interface WatchdogNeeds {
  cluster: WatchedCluster
  name: string
  /** s6 service directory of its Patroni. */
  serviceDirectory: string
  log: Logger
  signal: AbortSignal
}

export async function runPatroniWatchdog(needs: WatchdogNeeds): Promise<void> {
  const { cluster, name, serviceDirectory, log, signal } = needs
  const instance = cluster.instances.find((candidate) => candidate.name === name)
  if (instance === undefined) return
  const agent = makeHttpsAgent({ caPem: cluster.caPem, checkName: false })
  const host = instance.address.includes(':') ? `[${instance.address}]` : instance.address
  const url = `https://${host}:${instance.restPort}/liveness`
  // Rounds of our own, not the clock: an agent that was frozen with its host knows nothing yet.
  const patience = Math.ceil(HANG_MS / ASK_EVERY_MS)
  let roundsMax = patience
  let silentRounds = 0
  let lastPid: number | null = null
  while (!signal.aborted) {
    await pause(ASK_EVERY_MS, signal)
    try {
      const { pid } = await readProcessState(serviceDirectory)
      const answers = await doesRounds(agent, url)
      if (answers) roundsMax = patience
      silentRounds = answers || pid !== lastPid ? 0 : silentRounds + 1
      lastPid = pid
      if (silentRounds < roundsMax || pid === null || signal.aborted) continue
      await killPatroni(needs, 'it does no rounds any more', log)
      silentRounds = 0
      // On a machine so slow that Patroni needs longer to load, it must come up in the end.
      roundsMax *= 2
    } catch (error) {
      log.warn({ instance: name, error: describeError(error) }, 'cannot look after its Patroni')
    }
  }
  agent.destroy()
}

/** 200 while its loop runs, whoever leads and whether it reaches the dcs or not. */
async function doesRounds(agent: ReturnType<typeof makeHttpsAgent>, url: string): Promise<boolean> {
  const options = { agent, url, method: 'GET', timeoutMs: ASK_TIMEOUT_MS } as const
  return sendRequest({ ...options, responseBytesMax: REPLY_BYTES_MAX }).then(
    ({ status }) => status === 200,
    () => false,
  )
}
